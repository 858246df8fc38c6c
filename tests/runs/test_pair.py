"""Recipe `pair` from pictures and a file of weights to a measured bundle, and an `eye` as teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from leukoscope.bundle.decision import sigmoid
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import RecipeError
from leukoscope.models.pair import Pair
from leukoscope.models.trunk import import_timm
from leukoscope.runs.finish import finish_run
from leukoscope.runs.run import Run
from leukoscope.runs.teachers import teach
from leukoscope.runs.train import train_run
from leukoscope.training.frozen import read_left_out
from leukoscope.training.pairs import recipes_of_pair
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
CPU = Runtime(torch.device("cpu"), torch.float32)
SMALL = ("input.size=96", "head.components=6", "head.parts=3", "epochs=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(11)
    save_file(import_timm().create_model("tf_efficientnet_lite0").state_dict(), folder / "w.safetensors")
    write_synthetic(folder / "cells", count=72, seed=5, layout="folders", subjects=18)
    chosen = load_recipe("pair", (*SMALL, f"model.weights={folder / 'w.safetensors'}", "model.arguments.widths=[4, 6]"))
    return train_run(read_dataset(folder / "cells"), chosen, folder / "run", CPU, cache_folder=folder / "cache")


def test_the_validation_part_is_new_to_both_halves(run: Run) -> None:
    groups = run.dataset.groups()
    assert not (set(groups[run.split.val]) & set(groups[run.split.train]))
    kept = read_left_out(run.folder / "members" / "eye")
    assert kept is not None
    assert np.array_equal(kept.rows, run.split.train)
    assert run.left_out() is None  # the rule is fitted on the validation part
    bundle = finish_run(run, "pair").bundle
    assert bundle.facts.decision.calibration is not None or len(run.split.val) < 20
    model, epochs = run.network()
    assert isinstance(model, Pair)
    assert (epochs, run.state) == (1, "measured")


def test_a_killed_run_goes_on_and_ends_alike(run: Run) -> None:
    before = run.network()[0].state_dict()
    for file in (run.folder / "checkpoints").rglob("*.safetensors"):
        file.unlink()
    kept = (run.folder / "members" / "eye" / "left_out.json").stat().st_mtime_ns
    cache = run.folder.parent / "cache"
    again = train_run(run.dataset, run.recipe, run.folder, CPU, cache_folder=cache)
    assert (run.folder / "members" / "eye" / "left_out.json").stat().st_mtime_ns == kept
    for name, tensor in again.network()[0].state_dict().items():
        assert torch.equal(tensor, before[name])


def test_an_eye_teaches_by_heads_that_never_saw_the_patient(run: Run) -> None:
    """What the pair's eye said when it was left out is what the run of that eye teaches another network."""
    recipe, _ = recipes_of_pair(run.recipe)
    cache, place = run.folder.parent / "cache", run.folder.parent / "eye"
    eye = train_run(run.dataset, recipe.model_copy(update={"model": recipe.model.model_copy(
        update={"weights": run.recipe.model.weights})}), place, CPU, cache_folder=cache)  # fmt: skip
    assert len(eye.split.val) == 0  # it learned of more patients than the other may be taught by
    pupil = load_recipe("light", (f"distillation.teachers=['{place}']",))
    said = teach(run.dataset, run.split, pupil, cache)
    left_out = read_left_out(run.folder / "members" / "eye")
    assert left_out is not None
    np.testing.assert_allclose(said, sigmoid(left_out.logits), atol=1e-6)


def test_other_teachers_and_heads_are_refused() -> None:
    with pytest.raises(RecipeError, match="no teacher but its own eye"):
        recipes_of_pair(load_recipe("pair", ("distillation.teachers=[runs/x]",)))
    with pytest.raises(RecipeError, match="the head of a pair is radial"):
        load_recipe("pair", ("head.kind=linear",))
