"""Cells with their surroundings as `--data` of every verb that takes labelled cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from allidb_files import crop
from bundle_factory import make_bundle
from leukoscope.cli import main
from leukoscope.datasets.synthetic import write_synthetic

Run = Callable[..., Result]
TRAINED = ("--set", "input.size=64", "--set", "split.folds=3", "--epochs", "1", "--model", "plain_cnn")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve subjects with two crops each, in class folders."""
    root = tmp_path_factory.mktemp("crops") / "laboratory"
    for number in range(12):
        blast = number % 2 == 0
        folder = root / ("blast" if blast else "normal") / f"p{number}"
        folder.mkdir(parents=True)
        for cell in range(2):
            Image.fromarray(crop(10 * number + cell, blast)[0]).save(folder / f"{cell}.png")
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on rendered cells on black."""
    folder = tmp_path_factory.mktemp("trained")
    write_synthetic(folder / "cells", count=60, seed=1, layout="cnmc", subjects=12)
    given = ("--data", folder / "cells", "--out", folder / "run", "--cache", folder / "cache", *TRAINED)
    done = CliRunner().invoke(main, [str(each) for each in ("train", *given)])
    assert done.exit_code == 0, done.output
    return folder / "run" / "bundle"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "crops-cache"))


@pytest.mark.parametrize(
    "verb",
    [
        ("evaluate", "--bundle", "BY_HAND"),
        ("calibrate", "BY_HAND"),
        ("adapt", "BUNDLE", "--force"),
        ("audit", "explanations", "BUNDLE", "--cells", "12"),
        ("audit", "shortcuts", "BUNDLE", "--cells", "8"),
    ],
    ids=lambda verb: " ".join(part for part in verb if part.islower() and part.isalpha()),
)
def test_a_bundle_takes_crops(verb: tuple[str, ...], run: Run, bundle: Path, crops: Path, tmp_path: Path) -> None:
    made = {"BUNDLE": bundle, "BY_HAND": make_bundle(tmp_path / "by-hand", frame=256)}
    arguments = [made.get(part, part) for part in verb]
    done = run(*arguments, "--data", crops, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "shows cells with their surroundings: they are cut out first" in done.output
    assert "unreadable" not in done.output
    assert any((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_training_comparing_and_quantising_take_crops(run: Run, crops: Path, tmp_path: Path) -> None:
    trained = run("train", "--data", crops, "--out", tmp_path / "run", *TRAINED)
    assert trained.exit_code == 0, trained.output
    small = run("export", tmp_path / "run", "--int8", "--data", crops, "--out", tmp_path / "int8", "--cells", "8")
    assert small.exit_code == 0, small.output
    assert "weights of" in small.output
    table = run("compare", "--data", crops, "--out", tmp_path / "table", "--no-cost", *TRAINED)
    assert table.exit_code == 0, table.output
    assert (tmp_path / "table" / "comparison.json").is_file()
