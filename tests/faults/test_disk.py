"""A disk that is really full, and folders that may not be written: one line, and what was there stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bundle_factory import WEIGHTS, disc, make_bundle, make_graph
from leukoscope.cli import main

NOBODY = 65534


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that anyone may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for kind, colour in {"blast": (200, 30, 90), "normal": (10, 250, 10)}.items():
        (folder / "cells" / kind).mkdir(parents=True)
        for number in range(12):
            name = folder / "cells" / kind / f"{kind}{number}.png"
            Image.fromarray(disc(colour, radius=15 + number)).save(name)
    make_bundle(folder / "one")
    make_bundle(folder / "other", graph=make_graph(weights=-WEIGHTS))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def commands(home: Path, out: Path, bundle: Path) -> dict[str, list[object]]:
    """Verbs that write many files, few, and one that is replaced whole."""
    cells = home / "cells"
    return {
        "gallery": ["predict", cells, "--bundle", bundle, "--replace", "--out", out],
        "table": ["predict", cells, "--bundle", bundle, "--format", "csv", "--replace", "--out", out],
        "field": ["field", cells, "--bundle", bundle, "--threads", 1, "--out", out],
        "calibrate": [
            "calibrate",
            home / "one",
            "--data",
            cells,
            "--level",
            0.3 if bundle.name == "one" else 0.4,
            "--replace",
            "--out",
            out,
        ],
    }


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("name", ["gallery", "table", "calibrate"])
def test_a_disk_that_fills_leaves_what_was_there(name: str, home: Path) -> None:
    with small_disk(home / "disk", "900k"):
        out = home / "disk" / "out"
        before = leukoscope(*commands(home, out, home / "other")[name])
        assert before.exit_code == 0, before.output
        old = files_in(out)
        failed = 0
        for free in (0, 4096, 8192, 16384, 32768):
            room = os.statvfs(home / "disk")
            (home / "disk" / "filler").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - free)))
            done = leukoscope(*commands(home, out, home / "one")[name])
            (home / "disk" / "filler").unlink()
            if done.exit_code == 0:
                break
            failed += 1
            assert done.exit_code == 2, done.output
            assert "cannot be written (No space left on device); free disk space" in done.output
            assert {key: each for key, each in files_in(out).items() if "unfinished" not in key} == old
        assert failed
        again = leukoscope(*commands(home, out, home / "one")[name])
        assert again.exit_code == 0, again.output
        assert not [path for path in files_in(out) if path.endswith(".part") or "unfinished" in path]


@pytest.mark.parametrize("name", ["gallery", "table", "field", "calibrate"])
def test_a_folder_that_may_not_be_written_is_one_line(name: str, home: Path) -> None:
    locked = home / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    with as_nobody():
        done = leukoscope(*commands(home, locked / "out", home / "one")[name])
    assert done.exit_code == 2, done.output
    assert "cannot be written (Permission denied); free disk space or choose another folder" in done.output
    assert not list(locked.iterdir())


@contextmanager
def as_nobody() -> Iterator[Any]:
    """Root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
