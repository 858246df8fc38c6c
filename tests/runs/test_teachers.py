"""Teachers: what they say is what their bundle says, what is learned lies between it and the label, and no leak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import Split, make_split
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import TrainingError
from leukoscope.inference.classifier import Classifier
from leukoscope.runs.finish import finish_run
from leukoscope.runs.teachers import teach
from leukoscope.runs.train import train_run
from leukoscope.training.batches import FrameSource
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.runtime import Runtime, batch_loss

CPU = Runtime(torch.device("cpu"), torch.float32)
SMALL = ("epochs=1", "input.size=16", "model.name=plain_cnn", "model.arguments.widths=[4, 8]", "split.folds=3")


def student(folder: Path, fold: int, weight: float = 0.5) -> Recipe:
    teachers = f"{{teachers: ['{folder}/teacher-{{fold}}/bundle'], weight: {weight}}}"
    return load_recipe("paper", (*SMALL, f"split.fold={fold}", f"distillation={teachers}"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("teachers")
    write_synthetic(folder / "cells", count=48, seed=5, layout="folders", subjects=12)
    data = read_dataset(folder / "cells")
    run = train_run(data, load_recipe("paper", SMALL), folder / "teacher-0", CPU, cache_folder=folder / "cache")
    finish_run(run, "teacher")
    (folder / "teacher-1").symlink_to(folder / "teacher-0")  # stands for a teacher of another fold
    return folder, data


def split_of(data: Manifest, recipe: Recipe) -> Split:
    at = recipe.split
    return make_split(data, at.protocol, fold=at.fold, folds=at.folds, seed=at.seed, val_fraction=at.val_fraction)


def test_a_teacher_says_what_its_bundle_says(taught: tuple[Path, Manifest]) -> None:
    folder, data = taught
    recipe = student(folder, 0)
    split = split_of(data, recipe)
    classifier = Classifier(read_bundle(folder / "teacher-0" / "bundle"))
    alone = [classifier.predict(path).probability for path in data.select(split.train).paths()]
    np.testing.assert_allclose(teach(data, split, recipe), alone, atol=1e-6)


def test_a_teacher_of_another_fold_is_refused(taught: tuple[Path, Manifest]) -> None:
    folder, data = taught
    recipe = student(folder, 1)
    with pytest.raises(TrainingError, match=r"was trained on patients of [0-9]+ pictures of the validation or test"):
        teach(data, split_of(data, recipe), recipe)


def test_training_asks_the_teachers_and_learns_something_else(taught: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, data = taught
    recipe = student(folder, 0)
    taught_run = train_run(data, recipe, tmp_path / "taught", CPU, cache_folder=folder / "cache")
    again = train_run(data, recipe, tmp_path / "taught", CPU, cache_folder=folder / "cache")  # asks nobody
    assert again.history == taught_run.history
    alone = train_run(
        data, recipe.model_copy(update={"distillation": None}), tmp_path / "plain", CPU, cache_folder=folder / "cache"
    )
    assert taught_run.history[0]["loss"] != alone.history[0]["loss"]
    assert set(map(int, taught_run.split.test)) == set(map(int, alone.split.test))


def test_targets_lie_between_label_and_teacher() -> None:
    labels, said = np.array([0, 1, 1]), np.array([0.8, 0.8, 0.1])
    targets = 0.5 * labels + 0.5 * said
    source = FrameSource(np.zeros((3, 2, 2, 3), np.uint8), labels, np.arange(3), CPU.device, None, targets)
    _, got = source.batch(torch.arange(3))
    logits = torch.tensor([[0.3], [-0.2], [1.1]])
    loss = float(batch_loss(logits, got, (2.0, 3.0)))
    p = 1 / (1 + np.exp(-logits[:, 0].numpy().astype(float)))
    expected = -(np.array([2, 3, 3]) * (targets * np.log(p) + (1 - targets) * np.log(1 - p))).sum()
    assert loss == pytest.approx(expected, rel=1e-5)  # each cell weighs what its label weighs


def test_a_bundle_of_unknown_training_does_not_teach(
    taught: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = taught
    recipe = student(folder, 0)
    bundle = read_bundle(folder / "teacher-0" / "bundle")
    unknown = replace(bundle, facts=bundle.facts.model_copy(update={"training": None}))
    monkeypatch.setattr("leukoscope.runs.teachers.read_bundle", lambda _: unknown)
    with pytest.raises(TrainingError, match="does not say what it was trained on"):
        teach(data, split_of(data, recipe), recipe)
