"""The bill of materials of `.ci/materials.py`, and which licences it lets pass."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "materials.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed copy")
@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("LGPL-2.1-only AND (BSD-3-Clause OR GPL-2.0-only) AND blessing", True),
        ("MIT AND (GPL-2.0-only OR AGPL-3.0)", False),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0", False),
        ("", False),
    ],
)
def test_a_licence_passes_where_each_of_its_parts_does(licence: str, allowed: bool) -> None:
    assert runpy.run_path(str(SCRIPT))["is_allowed"](licence) is allowed


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed copy")
def test_the_bill_names_every_package_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["materials.py", str(tmp_path / "bill.json")])
    runpy.run_path(str(SCRIPT))["main"]()
    bill = json.loads((tmp_path / "bill.json").read_text())
    names = [each["name"].lower() for each in bill["components"]]
    assert bill["bomFormat"] == "CycloneDX"
    assert len(names) == len(set(names))
    assert {"numpy", "onnxruntime", "simplejpeg"} <= set(names)
    assert all(each["licenses"][0]["license"]["name"] for each in bill["components"])
