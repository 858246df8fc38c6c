"""Packages with hashes, their bounds, and their versions: one says what the other says."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
SCRIPT = HOME / ".ci" / "hashes.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed copy")

CONSTRAINTS = "# Versions\nnumpy==2.4.6\ntyping_extensions==4.16.0\n"
HASHES = "".join(
    f"{pin} \\\n    --hash=sha256:{'0' * 64}\n"
    for pin in ("hatchling==1.33.0", "numpy==2.4.6", "nvidia-nccl-cu13==2.30.7", "typing-extensions==4.16.0")
)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("numpy", "numpy", []),
        ("numpy==2.4.6", "numpy==2.4.5", ["numpy 2.4.6 is not in it"]),
        ("nvidia-nccl-cu13", "left-pad", ["left-pad is not in constraints.txt"]),
        (" \\\n    --hash=sha256:" + "0" * 64, "", ["an entry has no hash, or more than one"]),
        ("hatchling==1.33.0", "hatchling==https://x", ["it names an address"]),
    ],
)
def test_what_differs_is_told(old: str, new: str, told: list[str]) -> None:
    faults = runpy.run_path(str(SCRIPT))["faults"]
    assert faults(CONSTRAINTS, HASHES.replace(old, new, 1)) == told


def test_the_files_of_hashes_are_those_of_the_constraints(capsys: pytest.CaptureFixture[str]) -> None:
    assert runpy.run_path(str(SCRIPT))["check"]() == 0, capsys.readouterr().err


def test_each_dependency_has_a_lower_and_an_upper_bound() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
    named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    others = [name for name in named if not name.startswith("leukoscope[")]
    assert len(others) > 40
    assert [name for name in others if ">=" not in name or "<" not in name] == []
