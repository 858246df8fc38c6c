"""Learning cells before learning blasts: a network learns to tell kinds of cells apart, then loses that head.

The kinds (neutrophils, monocytes, erythroblasts ...) may come from another laboratory, stain and camera. What is
learned of them is the start of a run: `train --weights FILE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from leukoscope.errors import DataError, TrainingError
from leukoscope.files import atomic_path
from leukoscope.models import CellClassifier
from leukoscope.training import augment
from leukoscope.training.batches import generator_for, seed_for
from leukoscope.training.optimise import learning_rate
from leukoscope.training.recipe import Recipe
from leukoscope.training.runtime import Runtime

HELD_OUT = 0.1


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Outcome of a pre-training.

    Attributes:
        history: figures by epoch; ``held_out_accuracy`` is the mean over the kinds of the share called rightly.
        kinds: what was told apart.
        pictures: how many cells it learned from.
    """

    history: list[dict[str, float]]
    kinds: tuple[str, ...]
    pictures: int


def pretrain(
    model: CellClassifier,
    recipe: Recipe,
    frames: NDArray[np.uint8],
    kinds: Sequence[str],
    runtime: Runtime,
    *,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Pretrained:
    """Teach a network in place to tell kinds apart, by cross-entropy in which every kind weighs as much.

    A tenth of each kind is held out, picture by picture: such data name no people, so the figure says only that the
    network learns, not how well it knows cells of strangers.

    Args:
        model: its own head stays as it is.
        recipe: gives augmentation, optimiser, rate, batch size, epochs and seed; the schedule is followed by epoch.
        frames: uint8 [N, S, S, 3], prepared as the recipe says, for the scale of these pictures.
        kinds: name of the kind of each of the N.
        runtime: one process only.
        on_epoch: called after each epoch with its figures.

    Raises:
        DataError: fewer than two kinds.
        TrainingError: several processes, or the loss is no longer a number.
    """
    if runtime.world > 1:
        raise TrainingError("pre-training runs in one process", remedy="start it without torchrun")
    names, codes = np.unique(np.asarray(kinds), return_inverse=True)
    if len(names) < 2:
        raise DataError("there are no two kinds to tell apart", remedy="give pictures of at least two kinds")
    held, learned = _hold_out(codes, recipe.seed)
    torch.manual_seed(seed_for("kinds", recipe.seed))
    head = nn.Linear(model.embed(model.forward_features(_floats(frames[:1]))).shape[1], len(names))
    network = nn.ModuleDict({"model": model, "head": head}).to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.optimizer.learning_rate, weight_decay=recipe.optimizer.weight_decay
    )
    counts = np.bincount(codes[learned], minlength=len(names))
    weights = torch.from_numpy(len(learned) / (len(names) * np.maximum(counts, 1))).float().to(runtime.device)
    history: list[dict[str, float]] = []
    for epoch in range(recipe.epochs):
        network.train()
        torch.manual_seed(seed_for("dropout", recipe.seed, epoch))
        order = np.random.default_rng(seed_for("order", recipe.seed, epoch)).permutation(learned)
        batches = [order[at : at + recipe.batch_size] for at in range(0, len(order), recipe.batch_size)]
        total = 0.0
        for step, batch in enumerate(batches):
            past = [0.0] * epoch  # a plateau never ends here: there is no validation loss to wait for
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    recipe.schedule, recipe.optimizer.learning_rate, past, step, len(batches), recipe.epochs
                )
            draws = augment.draw(len(batch), recipe.augment, generator_for("augment", recipe.seed, epoch, step))
            pictures = augment.apply(_floats(frames[batch], runtime.device), draws)
            with runtime.autocast():
                logits = _logits(model, head, pictures)
            loss = F.cross_entropy(logits.float(), torch.from_numpy(codes[batch]).to(runtime.device), weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(f"the loss became {value} in epoch {epoch + 1}", remedy="lower the learning rate")
            total += value * len(batch)
        called = _calls(model, head, frames, held, recipe.batch_size, runtime)
        shares = [float((called[codes[held] == code] == code).mean()) for code in range(len(names))]
        figures = {"epoch": epoch + 1, "loss": total / len(learned), "held_out_accuracy": float(np.mean(shares))}
        history.append(figures)
        if on_epoch:
            on_epoch(figures)
    model.cpu().eval()
    return Pretrained(history, tuple(str(name) for name in names), len(learned))


def save_pretrained(model: CellClassifier, path: Path, licence: str) -> None:
    """Write what was learned of the features, without a head, as safetensors that `train --weights` takes.

    Raises:
        LeukoscopeError: the file cannot be written.
    """
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.startswith("head.")}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"license": licence})


def _hold_out(codes: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(seed_for("held out", seed))
    members = [random.permutation(np.flatnonzero(codes == code)) for code in np.unique(codes)]
    ends = [max(1, round(HELD_OUT * len(each))) for each in members]
    held = [each[:end] for each, end in zip(members, ends, strict=True)]
    learned = [each[end:] for each, end in zip(members, ends, strict=True)]
    return np.sort(np.concatenate(held)), np.sort(np.concatenate(learned))


def _floats(frames: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    return augment.to_float(torch.from_numpy(np.array(frames)).to(device or torch.device("cpu")))


def _logits(model: CellClassifier, head: nn.Linear, pictures: Tensor) -> Tensor:
    return head(model.embed(model.forward_features(pictures)))  # type: ignore[no-any-return]


@torch.inference_mode()
def _calls(
    model: CellClassifier,
    head: nn.Linear,
    frames: NDArray[np.uint8],
    part: NDArray[np.int64],
    size: int,
    runtime: Runtime,
) -> NDArray[np.int64]:
    model.eval()
    found = []
    for at in range(0, len(part), size):
        with runtime.autocast():
            found.append(_logits(model, head, _floats(frames[part[at : at + size]], runtime.device)).argmax(1).cpu())
    return torch.cat(found).numpy()
