"""Transfer in stages: what learns when, how fast, and what keeps its statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_fit import OVERRIDES, frames_and_labels

from leukoscope.errors import RecipeError
from leukoscope.models import CellClassifier, create_model
from leukoscope.training.batches import FrameSource
from leukoscope.training.checkpoint import weights_of
from leukoscope.training.loop import fit
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
Changes = dict[str, torch.Tensor]


def trained(folder: Path, *settings: str) -> tuple[CellClassifier, list[dict[str, torch.Tensor]]]:
    """A network and its states: at the start, and after each epoch."""
    torch.manual_seed(0)
    model = create_model("crse_cnn", widths=(8, 16), dropout=0.0)
    frames, labels = frames_and_labels()
    train = FrameSource(frames, labels, np.arange(45), CPU.device)
    val = FrameSource(frames, labels, np.arange(45, 60), CPU.device)
    states = [weights_of(model)]
    fit(
        model,
        load_recipe("paper", (*OVERRIDES, "keep=last", *settings)),
        train,
        val,
        folder,
        CPU,
        on_epoch=lambda _: states.append(weights_of(model)),
    )
    return model, states


def changed(before: Changes, after: Changes) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_epochs_change_the_head_and_nothing_else(tmp_path: Path) -> None:
    model, states = trained(tmp_path, "epochs=3", "stages.frozen_epochs=2")
    for before, after in ((states[0], states[1]), (states[1], states[2])):
        assert changed(before, after) == {"head.weight", "head.bias"}
    assert changed(states[2], states[3]) == set(states[0])  # statistics of batch normalisation and all
    assert all(p.requires_grad for p in model.parameters())


def test_a_run_that_ends_frozen_counts_all_parameters(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, "epochs=1", "stages.frozen_epochs=5")
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_batch_normalisation_keeps_its_statistics(tmp_path: Path) -> None:
    _, states = trained(tmp_path, "epochs=2", "stages.frozen_epochs=1", "stages.batch_norm=frozen")
    statistics = {n for n in states[0] if n.rpartition(".")[2].startswith(("running_", "num_batches"))}
    assert len(statistics) == 12
    assert changed(states[0], states[2]) == set(states[0]) - statistics


def test_features_learn_at_their_share_of_the_rate(tmp_path: Path) -> None:
    # One step of gradient descent moves each parameter by its rate times its gradient, which is the same in both runs.
    step = ("epochs=1", "batch_size=45", "optimizer.name=sgd", "optimizer.learning_rate=0.01")
    _, (start, full) = trained(tmp_path / "full", *step)
    _, (_, quarter) = trained(tmp_path / "quarter", *step, "stages.features_rate=0.25")
    for name in ("blocks.0.conv.weight", "blocks.1.norm.bias", "head.weight"):
        share = 1.0 if name.startswith("head.") else 0.25
        moved = full[name] - start[name]
        assert moved.abs().max() > 1e-5
        torch.testing.assert_close(quarter[name] - start[name], share * moved, rtol=1e-2, atol=1e-7)


def test_weights_named_among_the_arguments_are_no_argument() -> None:
    recipe = load_recipe("transfer", ("model.arguments.weights=none", "model.name=vgg16"))
    assert recipe.model.weights == "none"
    assert recipe.model.arguments == {}
    assert load_recipe("transfer").stages.frozen_epochs > 0
    with pytest.raises(RecipeError, match=r"stages\.batch_norm"):
        load_recipe("transfer", ("stages.batch_norm=off",))
