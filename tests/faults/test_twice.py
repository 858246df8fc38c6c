"""A second one on the same folder says so, and disturbs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.cli import main
from leukoscope.files import exclusive


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    for kind, colour in {"blast": (200, 30, 90), "normal": (10, 250, 10)}.items():
        (tmp_path / "cells" / kind).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(disc(colour, radius=20 + number)).save(tmp_path / "cells" / kind / f"{number}.png")
    return tmp_path


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def commands(home: Path, out: Path) -> dict[str, list[object]]:
    bundle, cells = ["--bundle", home / "bundle"], home / "cells"
    return {
        "predict": ["predict", cells, *bundle, "--format", "csv", "--out", out],
        "predict: gallery": ["predict", cells, *bundle, "--out", out],
        "demo": ["demo", cells, *bundle, "--out", out],
        "field": ["field", cells, *bundle, "--out", out],
        "evaluate": ["evaluate", *bundle, "--data", cells, "--out", out],
        "train": ["train", "--data", cells, "--out", out, "--cache", home / "cache"],
        "compare": ["compare", "--data", cells, "--model", "plain_cnn", "--out", out],
        "crossval": ["crossval", "--data", cells, "--model", "plain_cnn", "--out", out],
        "reproduce": ["reproduce", "paper", "--data", cells, "--model", "plain_cnn", "--no-train", "--out", out],
        "data audit": ["data", "audit", cells, "--out", out, "--jobs", 1],
    }


@pytest.mark.parametrize("name", commands(Path(), Path()))
def test_the_second_is_told(name: str, home: Path) -> None:
    out = home / "out"
    with exclusive(out, "works in"):
        told = leukoscope(*commands(home, out)[name])
        assert told.exit_code == 2, told.output
        assert "out: another process" in told.output
        assert "wait for it to end, or choose another folder" in told.output
        assert not list(out.iterdir())


def test_a_second_workbench_is_told(home: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    (home / "out").mkdir()
    with FileLock(home / "out" / "server.lock"):
        told = leukoscope("serve", "--bundle", home / "bundle", "--data", home / "out")
    assert told.exit_code == 2
    assert "another workbench has this folder" in told.output


def test_a_part_of_an_archive_that_another_answers_is_left_to_it(home: Path) -> None:
    """Any number may work on one archive: what one is at, the others pass over."""
    from leukoscope.archive.part import run_part  # noqa: PLC0415

    plan = ("archive", "plan", home / "cells", "--bundle", home / "bundle", "--part-size", 2, "--out", home / "out")
    assert leukoscope(*plan).exit_code == 0
    rows = next((home / "out").rglob("results"))
    from leukoscope.archive.plan import Archive  # noqa: PLC0415

    target = Archive.open(home / "out").rows(0)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        assert run_part(str(home / "out"), 0) == ("busy", 0)
    assert run_part(str(home / "out"), 0)[0] == "done"
    assert list(rows.rglob("*.jsonl"))
