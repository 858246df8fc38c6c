"""`networks.json`, from which `leukoscope models` reads without PyTorch, holds what the registry says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

from leukoscope.models import model_names
from leukoscope.models.registry import network_facts
from timm_presence import needs_timm

FILE = Path(str(resources.files("leukoscope") / "models" / "networks.json"))
ALONE = "import sys; sys.modules.update(torch=None, timm=None); from leukoscope.cli import main; main(sys.argv[1:])"


@needs_timm
def test_the_file_holds_what_the_registry_says() -> None:
    """Written anew with LEUKOSCOPE_GOLDEN=write."""
    text = json.dumps({name: network_facts(name) for name in model_names()}, indent=1) + "\n"
    if os.environ.get("LEUKOSCOPE_GOLDEN") == "write":
        FILE.write_text(text, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_networks_are_listed_without_pytorch() -> None:
    listed = alone()
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [*model_names(), "timm:NAME"]
    assert "needs: pip install 'leukoscope[backbones]'" in alone("vgg16").stdout
    install = "pip install 'leukoscope[backbones]'"
    for name, said in {"plain": "use one of: plain_cnn, ", "timm:resnet18": install}.items():
        told = alone(name)
        assert (told.returncode, said in told.stderr) == (2, True), told.stderr
        assert ":" in name or all(each in told.stderr for each in model_names())
