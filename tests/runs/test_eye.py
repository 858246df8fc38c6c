"""Recipe `eye` from pictures and a file of weights to a measured bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import ModelError, RecipeError
from leukoscope.inference.classifier import Classifier
from leukoscope.models.eye import Eye
from leukoscope.models.trunk import import_timm
from leukoscope.runs.finish import Finished, finish_run
from leukoscope.runs.run import Run
from leukoscope.runs.train import train_run
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.runtime import Runtime
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
CPU = Runtime(torch.device("cpu"), torch.float32)


def recipe(weights: Path, *changes: str) -> Recipe:
    small = ("input.size=96", "split.folds=3", "head.components=6", "head.parts=4", f"model.weights={weights}")
    return load_recipe("eye", (*small, *changes))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(11)
    file = tmp_path_factory.mktemp("weights") / "tf_efficientnet_lite0.safetensors"
    save_file(import_timm().create_model("tf_efficientnet_lite0").state_dict(), file)
    return file


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=72, seed=5, layout="folders", subjects=18)
    return folder


@pytest.fixture(scope="module")
def made(cells: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Finished]:
    folder = tmp_path_factory.mktemp("runs")
    run = train_run(read_dataset(cells), recipe(weights), folder / "run", CPU, cache_folder=folder / "cache")
    return run, finish_run(run, "eye")


def test_a_steady_head_is_another_head_on_the_same_trunk(
    made: tuple[Run, Finished], cells: Path, weights: Path, tmp_path: Path
) -> None:
    plain, _ = made
    recipe_ = load_recipe("eye_steady", ("input.size=96", "split.folds=3", "head.components=6", "head.parts=4"))
    steady = recipe_.model_copy(update={"model": plain.recipe.model})
    assert steady.head is not None
    assert set(steady.head.steady.weights()) == {"dyes", "detail", "outline", "size"}
    run = train_run(read_dataset(cells), steady, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    (first, _), (second, _) = plain.network(), run.network()
    assert isinstance(first, Eye)
    assert isinstance(second, Eye)
    for name, tensor in first.trunk.state_dict().items():
        assert torch.equal(tensor, second.trunk.state_dict()[name])
    assert not torch.allclose(second.project.weight, first.project.weight, rtol=1e-2)


def test_every_learning_group_is_trained_and_left_out_in_turn(made: tuple[Run, Finished]) -> None:
    run, done = made
    left_out = run.left_out()
    assert left_out is not None
    assert len(run.split.val) == 0
    assert left_out.path == tuple(record.path for record in run.part("train").records)
    facts = done.bundle.facts
    assert facts.training is not None
    assert set(facts.training.groups_trained) == set(run.dataset.groups()[run.split.train].tolist())
    assert not set(facts.training.groups_trained) & set(run.dataset.groups()[run.split.test].tolist())
    assert facts.decision.calibration is not None
    assert set(facts.decision.calibration.groups) == set(facts.training.groups_trained)
    assert facts.decision.calibration.pictures == len(run.split.train)
    assert facts.training.weights is not None
    assert facts.training.weights.source == "file:tf_efficientnet_lite0.safetensors"


def test_left_out_answers_are_not_those_of_the_head_that_saw_all(made: tuple[Run, Finished]) -> None:
    run, done = made
    left_out = run.left_out()
    assert left_out is not None
    paths = run.part("train").paths()
    seen = np.array([answer.logit for answer in Classifier(done.bundle).predict_many(paths)])
    assert np.abs(seen - left_out.logit).max() > 0.1
    # A margin says nothing of chance; the left-out answers are scaled so that no other factor fits them better.
    slope = ((left_out.probability - left_out.label) * left_out.logit).mean()
    assert abs(slope) < 1e-2


def test_the_run_is_read_back(made: tuple[Run, Finished]) -> None:
    run, _ = made
    model, epochs = run.network()
    assert isinstance(model, Eye)
    assert epochs == 1
    assert (run.state, Run.open(run.folder.parent / "run").recipe) == ("measured", run.recipe)
    (figures,) = (json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines())
    assert 0 <= figures["val_auc"] <= 1


def test_the_same_command_gives_the_same_head(made: tuple[Run, Finished], weights: Path, tmp_path: Path) -> None:
    run, _ = made
    again = train_run(run.dataset, recipe(weights), tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    second = again.network()[0].state_dict()
    for name, value in run.network()[0].state_dict().items():
        torch.testing.assert_close(second[name], value)


def test_absent_weights_leave_nothing_behind(cells: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(ModelError, match="cannot be read"):
        train_run(read_dataset(cells), recipe(absent), tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_the_network_without_a_head_is_refused(cells: Path, weights: Path, tmp_path: Path) -> None:
    bare = load_recipe("paper", ("model.name=eye", "input.size=96", f"model.weights={weights}"))
    with pytest.raises(RecipeError, match="the recipe says none"):
        train_run(read_dataset(cells), bare, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
