"""The loop as a whole: it learns, it survives a kill, and several processes learn what one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_fit import OVERRIDES, frames_and_labels, small_run
from torch import nn

from leukoscope.bundle.export import graph_bytes
from leukoscope.errors import DataError, TrainingError
from leukoscope.models import create_model
from leukoscope.training.batches import FrameSource
from leukoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, weights_of
from leukoscope.training.loop import fit, score
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime, choose_dtype, share_batch_norm

PROGRAM = Path(__file__).parent / "small_fit.py"
CPU = Runtime(torch.device("cpu"), torch.float32)


def run(folder: Path, *arguments: str, torchrun: int = 0) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    start = [sys.executable]
    if torchrun:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(torchrun)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, str(PROGRAM), str(folder), *arguments], capture_output=True, text=True, env=environment, check=False
    )


def run_here(folder: Path, settings: tuple[str, ...], dropout: float, *, alone: bool = False) -> None:
    """The same program in this process, on one thread as there."""
    folder.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small_run(folder, settings, dropout, alone=alone)
    finally:
        torch.set_num_threads(threads)


def losses(folder: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["loss"], line["val_loss"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "step", "settings"),
    [
        (1, 2, ()),
        (3, 4, ("averaging=0.9", "keep=last", "stages.frozen_epochs=2", "stages.features_rate=0.5")),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, epoch: int, step: int, settings: tuple[str, ...]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    given = [word for each in settings for word in ("--set", each)]
    run_here(whole, settings, dropout=0.5)
    assert run(killed, *given, "--kill", str(epoch), str(step)).returncode == -signal.SIGKILL
    assert not (killed / "final.safetensors").exists()
    assert run(killed, *given).returncode == 0
    first, second = (load_file(folder / "final.safetensors") for folder in (whole, killed))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert losses(whole) == losses(killed)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """First the head alone, then everything. On the CPU only a network without batch normalisation can be shared."""
    one, two = tmp_path / "one", tmp_path / "two"
    run_here(one, ("stages.frozen_epochs=1", "epochs=4"), dropout=0.0, alone=True)
    outcome = run(two, "--alone", "--dropout", "0", "--set", "stages.frozen_epochs=1", "--epochs", "4", torchrun=2)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    np.testing.assert_allclose(losses(one), losses(two), rtol=2e-3)
    assert losses(one)[-1][0] < 0.8 * losses(one)[0][0]  # something was learnt, or the comparison says nothing


@pytest.mark.slow
def test_two_processes_of_the_cpu_refuse_batch_normalisation_in_a_line(tmp_path: Path) -> None:
    outcome = run(tmp_path / "two", "--epochs", "1", torchrun=2)
    assert outcome.returncode != 0
    assert "several processes on the CPU cannot normalise over one batch; use one process, or GPUs" in outcome.stderr


@pytest.fixture
def parts() -> tuple[FrameSource, FrameSource]:
    frames, labels = frames_and_labels()
    return (
        FrameSource(frames, labels, np.arange(45), CPU.device),
        FrameSource(frames, labels, np.arange(45, 60), CPU.device),
    )


def test_it_learns_and_keeps_the_best_epoch(tmp_path: Path, parts: tuple[FrameSource, FrameSource]) -> None:
    model = create_model("crse_cnn", widths=(8, 16))
    result = fit(model, load_recipe("paper", (*OVERRIDES, "epochs=12")), *parts, tmp_path, CPU)
    best = min(result.history, key=lambda h: h["val_loss"])
    assert result.best_epoch == best["epoch"]
    assert score(model, parts[1], 8, CPU)["loss"] == pytest.approx(best["val_loss"], rel=1e-5)
    assert best["val_auc"] > 0.95
    kept = list((tmp_path / "checkpoints").iterdir())
    assert [k.name for k in kept] == ["epoch-0012"]


def test_the_last_epoch_and_the_mean_of_the_weights(tmp_path: Path, parts: tuple[FrameSource, FrameSource]) -> None:
    torch.manual_seed(0)
    model = create_model("plain_cnn", widths=(8, 16), dropout=0.0)
    recipe = load_recipe("paper", (*OVERRIDES, "epochs=4", "keep=last", "averaging=0.9", "early_stopping=null"))
    steps: list[dict[str, torch.Tensor]] = []
    start = weights_of(model)
    result = fit(model, recipe, *parts, tmp_path, CPU, on_step=lambda _: steps.append(weights_of(model)))
    assert result.best_epoch == 4
    for name, value in weights_of(model).items():
        if value.is_floating_point():
            mean = start[name]
            for state in steps:
                mean = 0.9 * mean + 0.1 * state[name]
            torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-4)


def test_early_stopping(tmp_path: Path, parts: tuple[FrameSource, FrameSource]) -> None:
    recipe = load_recipe(
        "paper", (*OVERRIDES, "epochs=40", "early_stopping.patience=2", "optimizer.learning_rate=0.05")
    )
    result = fit(create_model("plain_cnn", widths=(8, 16)), recipe, *parts, tmp_path, CPU)
    assert len(result.history) < 40
    assert len(result.history) - result.best_epoch == 2


@pytest.mark.skipif(choose_dtype("auto", torch.device("cpu")) is torch.float32, reason="this CPU has no bf16")
def test_bf16_stays_near_fp32(tmp_path: Path, parts: tuple[FrameSource, FrameSource]) -> None:
    curves = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = create_model("plain_cnn", widths=(8, 16), dropout=0.0)
        runtime = Runtime(torch.device("cpu"), dtype)
        result = fit(model, load_recipe("paper", (*OVERRIDES, "epochs=3")), *parts, tmp_path / str(dtype), runtime)
        curves.append([h["loss"] for h in result.history])
        assert all(p.dtype is torch.float32 for p in model.parameters())
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.05)


@pytest.mark.gpu
def test_gpu_learns_too(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    frames, labels = frames_and_labels()
    for precision in ("bf16", "fp16"):
        device = torch.device("cuda", 0)
        runtime = Runtime(device, choose_dtype(precision, device))
        parts = [FrameSource(frames, labels, i, device) for i in (np.arange(45), np.arange(45, 60))]
        recipe = load_recipe("paper", (*OVERRIDES, "epochs=12"))
        result = fit(create_model("crse_cnn", widths=(8, 16)), recipe, *parts, tmp_path / precision, runtime)
        assert max(h["val_auc"] for h in result.history) > 0.95


def test_one_class_is_refused(tmp_path: Path) -> None:
    frames, labels = frames_and_labels()
    blasts = FrameSource(frames, labels, np.flatnonzero(labels == 1), CPU.device)
    with pytest.raises(DataError, match="the training part holds one class only"):
        fit(create_model("plain_cnn"), load_recipe("paper"), blasts, blasts, tmp_path, CPU)


def test_divergence_is_named(tmp_path: Path, parts: tuple[FrameSource, FrameSource]) -> None:
    recipe = load_recipe("paper", (*OVERRIDES, "optimizer.name=sgd", "optimizer.learning_rate=1e30"))
    with pytest.raises(TrainingError, match=r"training diverged in epoch \d: the loss is nan at step \d+; lower"):
        fit(create_model("plain_cnn", widths=(8, 16)), recipe, *parts, tmp_path, CPU)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    model = create_model("plain_cnn", widths=(4,))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, model, weights_of(model), None, optimizer, TrainingState(epoch=1))
    progress, _, average = load_checkpoint(tmp_path, model, optimizer) or pytest.fail("no checkpoint")
    assert progress.epoch == 1
    assert average is None
    with pytest.raises(TrainingError, match="epoch-0001: the checkpoint cannot be used"):
        load_checkpoint(tmp_path, create_model("plain_cnn", widths=(5,)), optimizer)
    weights = tmp_path / "epoch-0001" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(TrainingError, match="remove this folder or train into a new one"):
        load_checkpoint(tmp_path, model, optimizer)


def test_adam_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        model(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    model = create_model("plain_cnn", widths=(4,), dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for seed in range(3):
        step(model, optimizer, seed)
    save_checkpoint(tmp_path, model, weights_of(model), None, optimizer, TrainingState(epoch=3))
    other = create_model("plain_cnn", widths=(4,), dropout=0.0)
    other_optimizer = torch.optim.AdamW(other.parameters(), 0.01)
    load_checkpoint(tmp_path, other, other_optimizer)
    step(model, optimizer, 9)
    step(other, other_optimizer, 9)
    for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["crse_cnn", "plain_cnn"])
def test_batch_normalisation_over_processes_keeps_names_and_answers_and_needs_gpus(name: str) -> None:
    model = create_model(name).eval()
    before, x = model.state_dict(), torch.rand(2, 3, 64, 64)
    answer = model(x)
    with pytest.raises(TrainingError, match="one process, or GPUs"):
        share_batch_norm(model, torch.device("cpu"))
    share_batch_norm(model, torch.device("cuda"))
    kinds = {type(module) for module in model.modules()}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds
    assert list(model.state_dict()) == list(before)
    assert torch.equal(model(x), answer)
    graph_bytes(model, 64, 64)
    share_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.device("cpu"))  # nothing to share
