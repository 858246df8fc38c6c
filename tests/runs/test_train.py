"""Run folders: what may share one and what may not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import DataError, TrainingError
from leukoscope.runs.run import Run
from leukoscope.runs.train import train_run
from leukoscope.training.recipe import load_recipe
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


@pytest.fixture(scope="module")
def made(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return train_run(read_dataset(cells), RECIPE, folder / "run", CPU, cache_folder=folder / "cache")


def test_best_weights_come_back(made: Run) -> None:
    model, epochs = made.network()
    assert (made.recipe, epochs) == (RECIPE, 1)
    best = load_file(made.folder / "checkpoints" / "epoch-0001" / "best.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, best[name])


def test_other_data_do_not_resume_a_run(made: Run, tmp_path: Path) -> None:
    fewer = made.dataset.select(range(len(made.dataset) - 1))
    with pytest.raises(TrainingError, match=r"holds another run \(differs in: fingerprint\)"):
        train_run(fewer, RECIPE, made.folder, CPU, cache_folder=tmp_path / "cache")


def test_a_run_of_a_version_that_knew_fewer_keys_goes_on(made: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    for key in ("keep", "averaging", "label_smoothing", "stages"):
        del facts["recipe"][key]
    (folder / "run.json").write_text(json.dumps(facts))
    again = train_run(made.dataset, RECIPE, folder, CPU, cache_folder=tmp_path / "cache")
    assert again.history == made.history
    facts["recipe"]["keep"] = "last"
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(TrainingError, match=r"holds another run \(differs in: recipe\)"):
        train_run(made.dataset, RECIPE, folder, CPU, cache_folder=tmp_path / "cache")


def test_damaged_run_folders_are_named(made: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a run folder"):
        Run.open(tmp_path)
    folder = shutil.copytree(made.folder, tmp_path / "run")
    (folder / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run.json: not a run"):
        train_run(made.dataset, RECIPE, folder, CPU, cache_folder=tmp_path / "cache")
    with pytest.raises(TrainingError, match="not a run folder"):
        Run.open(folder)
    shutil.copy(made.folder / "run.json", folder)
    (folder / "checkpoints" / "epoch-0001" / "best.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match="the run is damaged"):
        Run.open(folder).network()
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(TrainingError, match="no checkpoint here; give the folder of a run"):
        Run.open(folder).network()
    (folder / "training.json").write_text("{}")
    with pytest.raises(TrainingError, match="not the facts of a training"):
        _ = Run.open(folder).training
    (folder / "split.json").write_text("[]")
    with pytest.raises(TrainingError, match="not a run folder"):
        _ = Run.open(folder).split


def test_one_class_cannot_be_split(cells: Path, tmp_path: Path) -> None:
    data = read_dataset(cells)
    with pytest.raises(DataError):
        train_run(data.select(data.labels() == 1), RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")


def test_the_split_on_disk_is_the_one_trained_on(made: Run) -> None:
    written = json.loads((made.folder / "split.json").read_text())
    for part in ("train", "val", "test"):
        assert written[part] == [made.dataset.records[i].path for i in getattr(made.split, part)]


def test_an_absent_device_is_named() -> None:
    for name, message in (
        ("cuda:99", "there is no device cuda:99; use --device cpu"),
        ("abacus", "'abacus' is no device"),
    ):
        with pytest.raises(TrainingError, match=message), start_runtime("auto", name):
            pass
