"""Recipe `pair` from pictures and a file of weights to a measured bundle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import DataError, RecipeError
from leukoscope.models.pair import Pair
from leukoscope.models.trunk import import_timm
from leukoscope.runs.finish import finish_run
from leukoscope.runs.run import Run
from leukoscope.runs.train import train_run
from leukoscope.training.checkpoint import best_network
from leukoscope.training.frozen import read_left_out
from leukoscope.training.pairs import recipes_of_pair
from leukoscope.training.recipe import differences, load_recipe
from leukoscope.training.runtime import Runtime
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
CPU = Runtime(torch.device("cpu"), torch.float32)
SMALL = ("input.size=170", "input.preparation.frame_size=170", "head.components=6", "head.parts=3", "epochs=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(11)
    save_file(import_timm().create_model("tf_efficientnet_lite0").state_dict(), folder / "w.safetensors")
    write_synthetic(folder / "cells", count=72, seed=5, layout="folders", subjects=18)
    chosen = load_recipe("pair", (*SMALL, f"model.weights={folder / 'w.safetensors'}", "model.arguments.widths=[4, 6]"))
    return train_run(read_dataset(folder / "cells"), chosen, folder / "run", CPU, cache_folder=folder / "cache")


def test_answers_on_the_validation_part_are_by_halves_that_never_saw_the_patient(run: Run) -> None:
    groups, members = run.dataset.groups(), run.folder / "members"
    assert not (set(groups[run.split.val]) & set(groups[run.split.train]))
    of_eye, of_both = read_left_out(members / "eye"), read_left_out(run.folder)
    assert of_eye is not None
    assert of_both is not None
    assert np.array_equal(of_eye.rows, np.sort(np.concatenate([run.split.train, run.split.val])))
    assert np.array_equal(of_both.rows, run.split.val)
    compact, _ = best_network(members / "compact" / "checkpoints", recipes_of_pair(run.recipe).compact)
    shown = recipes_of_pair(run.recipe).compact.input
    assert (shown.size, shown.preparation.frame_size) == (56, 170)
    frames = open_cache(run.dataset, shown.preparation, shown.size, run.folder.parent / "cache").frames[run.split.val]
    theirs = compact(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)[:, 0].detach().numpy()
    eyes = dict(zip(of_eye.rows.tolist(), of_eye.logits.tolist(), strict=True))
    wanted = [(eyes[row] + float(own)) / 2 for row, own in zip(run.split.val.tolist(), theirs, strict=True)]
    assert of_both.logits == pytest.approx(wanted, abs=1e-4)
    held = run.left_out()
    assert held is not None
    assert held.logit == pytest.approx(wanted, abs=1e-4)
    bundle = finish_run(run, "pair").bundle
    assert bundle.facts.decision.calibration is not None or len(run.split.val) < 20
    model, epochs = run.network()
    assert isinstance(model, Pair)
    assert (epochs, run.state) == (1, "measured")


def test_the_halves_are_those_of_their_own_recipes(run: Run) -> None:
    """The same eye and the same compact network as `train` makes of recipes `eye` and `champion` on this split."""
    halves, cache = recipes_of_pair(run.recipe), run.folder.parent / "cache"
    weights = {"weights": run.recipe.model.weights}
    for name, recipe in (("eye", halves.eye), ("compact", halves.compact)):
        model = recipe.model.model_copy(update=weights) if name == "eye" else recipe.model
        alone = train_run(
            run.dataset, recipe.model_copy(update={"model": model}), run.folder.parent / name, CPU, cache_folder=cache
        )
        member, _ = best_network(run.folder / "members" / name / "checkpoints", recipe)
        for key, tensor in alone.network()[0].state_dict().items():
            assert torch.equal(tensor, member.state_dict()[key]), key


def test_decision_and_patients_rule_rest_on_what_the_other_folds_said(run: Run) -> None:
    recipe = run.recipe.model_copy(update={"split": run.recipe.split.model_copy(update={"fold": 1})})
    other = train_run(
        run.dataset, recipe, run.folder.parent / "fold", CPU, cache_folder=run.folder.parent / "cache"
    )  # fmt: skip
    finish_run(other, "pair")
    facts = finish_run(run, "pair", folds=[other.folder]).bundle.facts
    told = set(other.scores().group.tolist())
    fitted = facts.decision.calibration
    assert fitted is not None
    assert facts.training is not None
    known = {*facts.training.groups_trained, *facts.training.groups_validated}
    assert set(fitted.groups) == told & known
    assert fitted.pictures == sum(group in known for group in other.scores().group.tolist())
    assert facts.gate is None or not facts.gate.groups_held_out
    assert facts.measured
    with pytest.raises(DataError, match="tested on no patient that the bundle was trained on"):
        finish_run(run, "pair", folds=[run.folder])


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


def test_the_recipe_is_that_of_eye_and_champion_together() -> None:
    halves = recipes_of_pair(load_recipe("pair"))
    apart = differences(halves.eye, load_recipe("eye")), differences(halves.compact, load_recipe("champion"))
    trained = ("model.name", "head", "input", "balance", "seed")
    assert not [key for key in apart[0] if key.startswith(trained)]  # an eye is fitted by nothing else
    assert set(apart[1]) == {"name"}


def test_other_frames_teachers_and_heads_are_refused() -> None:
    with pytest.raises(RecipeError, match="no teachers"):
        recipes_of_pair(load_recipe("pair", ("distillation.teachers=[runs/x]",)))
    with pytest.raises(RecipeError, match="frames of 340 px as they are"):
        recipes_of_pair(load_recipe("pair", ("input.size=300",)))
    with pytest.raises(RecipeError, match="the head of a pair is radial"):
        load_recipe("pair", ("head.kind=linear",))
