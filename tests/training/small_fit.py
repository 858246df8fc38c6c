"""A small run as a program of its own, so that tests can kill it or start several processes of it.

Usage: python small_fit.py FOLDER [--epochs N] [--dropout P] [--kill EPOCH STEP] [--set KEY=VALUE] [--alone]
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from leukoscope.models import create_model
from leukoscope.training.batches import FrameSource
from leukoscope.training.checkpoint import weights_of
from leukoscope.training.loop import fit
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import start_runtime

OVERRIDES = (
    "precision=fp32",
    "input.size=24",
    "batch_size=8",
    "optimizer.learning_rate=3e-3",
    "early_stopping=null",
    "schedule.patience=1",
)


def frames_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Sixty noisy pictures whose brightness says the class, if imperfectly."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    frames = random.integers(0, 150, (60, 24, 24, 3)) + 40 * labels[:, None, None, None]
    return frames.astype(np.uint8), labels


def main() -> None:
    """Train, perhaps until the signal that cannot be caught."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", default="5")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--kill", type=int, nargs=2)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()

    def on_step(at: dict[str, float]) -> None:
        if args.kill == [at["epoch"], at["step"]]:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    small_run(args.folder, (f"epochs={args.epochs}", *args.settings), args.dropout, on_step, alone=args.alone)


def small_run(
    folder: Path,
    settings: tuple[str, ...],
    dropout: float,
    on_step: Callable[[dict[str, float]], None] | None = None,
    *,
    alone: bool = False,
) -> None:
    """The run itself; its weights end in final.safetensors. ``alone``: see `each_cell_alone`."""
    recipe = load_recipe("paper", (*OVERRIDES, "epochs=5", *settings))
    frames, labels = frames_and_labels()
    with start_runtime(recipe.precision, "cpu") as runtime:
        torch.manual_seed(0)
        model = create_model("crse_cnn", widths=(8, 16), dropout=dropout)
        if alone:
            each_cell_alone(model)
        train = FrameSource(frames, labels, np.arange(45), runtime.device)
        val = FrameSource(frames, labels, np.arange(45, 60), runtime.device)
        fit(model, recipe, train, val, folder, runtime, on_step=on_step)
        if runtime.is_main:
            save_file(weights_of(model), folder / "final.safetensors")


def each_cell_alone(model: nn.Module) -> None:
    """Normalise each cell by itself, so that a batch can be shared by processes of the CPU."""
    for block in list(model.modules()):
        for name, part in block.named_children():
            if isinstance(part, nn.BatchNorm2d):
                setattr(block, name, nn.GroupNorm(1, part.num_features))


if __name__ == "__main__":
    main()
