"""`predict --out` killed while it answers: the same command goes on, and ends with the rows of an undisturbed run."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.inference.batch import JOURNAL, KEPT


def rows(path: Path) -> list[dict[str, str]]:
    """The table without its times."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "ms"} for row in csv.DictReader(file)]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    pictures = tmp_path / "cells"
    pictures.mkdir()
    Image.fromarray(disc((200, 30, 90), size=450, radius=100)).save(pictures / "0000.png")
    for number in range(1, 900):
        (pictures / f"{number:04d}.png").symlink_to(pictures / "0000.png")
    bundle = make_bundle(tmp_path / "bundle")

    def command(out: Path) -> list[str]:
        given = ["predict", pictures, "--bundle", bundle, "--format", "csv", "--out", out, "--threads", 1]
        return [sys.executable, "-m", "leukoscope", *map(str, given)]

    out, journal = tmp_path / "out", tmp_path / "out" / JOURNAL
    kept = 0
    for killed_at in (30, 150):
        with subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            end = time.monotonic() + 120
            while lines(journal) < killed_at and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            process.kill()
        assert not (out / "predictions.csv").exists()
        assert lines(journal) >= max(kept, killed_at)  # what an earlier run answered is not answered again
        kept = lines(journal)
    done = subprocess.run(command(out), check=True, capture_output=True, text=True)
    assert "pictures of an earlier run)" in done.stderr
    undisturbed = tmp_path / "undisturbed"
    subprocess.run(command(undisturbed), check=True, capture_output=True)
    assert rows(out / "predictions.csv") == rows(undisturbed / "predictions.csv")
    assert len(rows(out / "predictions.csv")) == 900
    assert sorted(path.name for path in out.iterdir()) == [KEPT, "predictions.csv", "summary.json"]
