"""The pages: nothing from elsewhere, every key of theirs known to the server, and their pure parts tested by Node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import leukoscope.web
from leukoscope.service.labels import COMMAND_KEYS

PAGES = Path(leukoscope.web.__file__).parent
HOME = Path(__file__).parents[2]


FILES = [path.name for path in sorted(PAGES.iterdir()) if path.suffix != ".py" and path.is_file()]


@pytest.mark.parametrize("page", FILES)
def test_nothing_comes_from_another_host(page: str) -> None:
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)
    assert [url for url in found if not url.endswith("//www.w3.org")] == []  # the name of SVG, which nobody asks
    assert not re.search(r"\binnerHTML\b|\beval\(|insertAdjacentHTML|document\.write", text)


def test_the_page_does_what_the_list_of_keys_says() -> None:
    text = (PAGES / "review.mjs").read_text(encoding="utf-8")
    acts = text[text.index("const acts = {") : text.index("const label = this.byKey")]
    for key in COMMAND_KEYS:
        assert re.search(rf'(?<!\w)"?{re.escape(key)}"?: \(\) =>', acts), key


def test_pure_parts_of_the_pages() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: apt-get install nodejs")
    done = subprocess.run([node, "--test", "tests/web"], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
