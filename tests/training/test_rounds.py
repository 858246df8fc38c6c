"""A site's round for a network: decided by its arguments alone, and two sites' rounds learn what both show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from leukoscope.errors import DataError, TrainingError
from leukoscope.federation.rounds import LocalRound, combine
from leukoscope.models import create_model
from leukoscope.training.batches import FrameSource
from leukoscope.training.loop import score
from leukoscope.training.recipe import load_recipe
from leukoscope.training.rounds import local_round
from leukoscope.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
RECIPE = load_recipe("paper", ("input.size=32", "precision=fp32", "batch_size=16", "optimizer.learning_rate=1e-3"))


def source(seed: int, rows: slice = slice(None)) -> FrameSource:
    """Discs that are red or blue, of six patients."""
    rng = np.random.default_rng(seed)
    label = np.arange(96) % 2
    frames = np.zeros((96, 32, 32, 3), np.uint8)
    y, x = np.mgrid[:32, :32] - 15.5
    for frame, blast in zip(frames, label, strict=True):
        colour = np.array([200, 60, 120]) if blast else np.array([90, 60, 200])
        frame[x**2 + y**2 < rng.uniform(60, 140)] = (colour + rng.normal(0, 12, 3)).clip(1, 255)
    groups = np.array([f"{seed}-{k // 16}" for k in range(96)])
    return FrameSource(frames, label, np.arange(96)[rows], CPU.device, groups)


def weights_of(model: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: each.detach().numpy().copy() for name, each in model.state_dict().items()}


def start() -> tuple[Any, dict[str, NDArray[Any]]]:
    torch.manual_seed(0)
    model = create_model("plain_cnn")
    return model, weights_of(model)


def test_a_round_is_decided_by_its_arguments() -> None:
    model, weights = start()
    first, patients, figures = local_round(weights, RECIPE, 1, model, source(0), CPU, number=2)
    again, _, _ = local_round(weights, RECIPE, 1, model, source(0), CPU, number=2)
    other, _, _ = local_round(weights, RECIPE, 2, model, source(0), CPU, number=2)
    assert patients == 6
    assert figures["loss"] > 0
    assert all(np.array_equal(first[name], again[name]) for name in weights)
    assert any(not np.array_equal(first[name], other[name]) for name in weights)
    assert all(np.array_equal(each, start()[1][name]) for name, each in weights.items())


def test_two_sites_learn_what_neither_sends_and_one_may_be_killed() -> None:
    model, weights = start()
    sites = [source(seed) for seed in (1, 2)]
    for number in range(4):
        there = sites[:1] if number == 1 else sites
        made = [
            LocalRound(*local_round(weights, RECIPE, site, model, each, CPU, number=number))
            for site, each in enumerate(there)
        ]
        weights = combine(made)
    model.load_state_dict({name: torch.from_numpy(np.array(each)) for name, each in weights.items()})
    assert score(model, source(3), 16, CPU)["auc"] > 0.95


def test_statistics_that_stay_at_home_are_the_sites_own() -> None:
    model, weights = start()
    made, _, _ = local_round(weights, RECIPE, 0, model, source(0), CPU)
    sent = combine([LocalRound(made, 6, {})], batch_norm="local")
    kept = [name for name in made if name not in sent]
    assert kept
    assert all("running_" in name or "num_batches" in name for name in kept)
    before = weights_of(model)
    local_round(sent, RECIPE, 0, model, source(0), CPU, number=1)
    assert all(before[name].shape == made[name].shape for name in kept)


def test_what_cannot_be_trained_is_refused() -> None:
    model, weights = start()
    with pytest.raises(DataError, match="a site needs cells of both classes"):
        local_round(weights, RECIPE, 0, model, source(0, slice(0, None, 2)), CPU)
    first = next(iter(weights))
    with pytest.raises(TrainingError, match=f"weights do not fit the network \\({first}\\)"):
        local_round({k: v for k, v in weights.items() if k != first}, RECIPE, 0, model, source(0), CPU)
    with pytest.raises(TrainingError, match="weights do not fit the network"):
        local_round({**weights, first: np.zeros((1, 2), np.float32)}, RECIPE, 0, model, source(0), CPU)
    with pytest.raises(TrainingError, match="training diverged in epoch 1"):
        local_round({**weights, first: np.full_like(weights[first], np.nan)}, RECIPE, 0, model, source(0), CPU)
