"""Run folders: what may share one and what may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from leukoscope.data.readers import read_dataset
from leukoscope.data.synthetic import write_synthetic
from leukoscope.errors import DataError, TrainingError
from leukoscope.training.recipe import load_recipe
from leukoscope.training.restore import restore
from leukoscope.training.run import train_run
from leukoscope.training.runtime import Runtime, start_runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
RECIPE = load_recipe(
    "paper",
    ("epochs=1", "input.size=16", "model.name=plain_cnn", "model.arguments.widths=[4, 8]", "split.folds=3"),
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=36, seed=5, layout="folders", subjects=12)
    return folder


def test_best_weights_come_back(cells: Path, tmp_path: Path) -> None:
    run = train_run(read_dataset(cells), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    recipe, model, epochs = restore(tmp_path / "run")
    assert (recipe, epochs) == (RECIPE, 1)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_other_data_do_not_resume_a_run(cells: Path, tmp_path: Path) -> None:
    data = read_dataset(cells)
    train_run(data, RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    fewer = data.select(range(len(data) - 1))
    with pytest.raises(TrainingError, match=r"holds another run \(differs in: fingerprint\)"):
        train_run(fewer, RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")


def test_damaged_run_folders_are_named(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint here; give the folder of a run"):
        restore(tmp_path)
    train_run(read_dataset(cells), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run.json: not a run"):
        train_run(read_dataset(cells), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    with pytest.raises(TrainingError, match="the run is damaged"):
        restore(tmp_path / "run")


def test_one_class_cannot_be_split(cells: Path, tmp_path: Path) -> None:
    data = read_dataset(cells)
    with pytest.raises(DataError):
        train_run(data.select(data.labels() == 1), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")


def test_the_split_on_disk_is_the_one_trained_on(cells: Path, tmp_path: Path) -> None:
    run = train_run(read_dataset(cells), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    written = json.loads((tmp_path / "run" / "split.json").read_text())
    for part in ("train", "val", "test"):
        assert written[part] == [run.manifest.records[i].path for i in getattr(run.split, part)]


def test_an_absent_device_is_named() -> None:
    for name, message in (
        ("cuda:99", "there is no device cuda:99; use --device cpu"),
        ("abacus", "'abacus' is no device"),
    ):
        with pytest.raises(TrainingError, match=message), start_runtime("auto", name):
            pass
