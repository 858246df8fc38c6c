"""The training loop: epochs of augmented batches, validation, best weights kept, resumable after a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from leukoscope.errors import DataError, TrainingError
from leukoscope.files import write_text
from leukoscope.models import CellClassifier
from leukoscope.training import augment
from leukoscope.training.batches import FrameSource, class_weights, epoch_order, generator_for, seed_for
from leukoscope.training.checkpoint import TrainingState, drop_older, load_checkpoint, save_checkpoint, weights_of
from leukoscope.training.optimise import (
    averaged,
    epochs_without_improvement,
    learning_rate,
    move_average,
    parameter_groups,
    set_learning,
    set_modes,
    start_average,
)
from leukoscope.training.recipe import Recipe
from leukoscope.training.runtime import Runtime, batch_loss, share_batch_norm

Listener = Callable[[dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class FitResult:
    """Outcome of a run: figures by epoch, the best epoch; the model holds its weights."""

    history: list[dict[str, float]]
    best_epoch: int


def fit(
    model: CellClassifier,
    recipe: Recipe,
    train: FrameSource,
    val: FrameSource,
    folder: Path,
    runtime: Runtime,
    *,
    on_step: Listener | None = None,
    on_epoch: Listener | None = None,
) -> FitResult:
    """Train ``model`` in place and leave the weights of the best validation loss in it.

    Everything random is keyed by (seed, epoch, step), so a run killed at any moment and started again in the same
    folder ends with the same weights on the same machine.

    Args:
        model: a network with fresh weights.
        recipe: how to train.
        train: pictures to learn from.
        val: pictures that choose the best epoch and the learning rate.
        folder: gets ``checkpoints/`` and ``metrics.jsonl``.
        runtime: device, precision, processes.
        on_step: called after each batch with epoch, step, steps, loss.
        on_epoch: called after each epoch with its figures.

    Raises:
        DataError: a part lacks a class.
        TrainingError: the loss or an answer is no longer a number, or the folder's checkpoint is of another run.
    """
    for name, part in (("training", train), ("validation", val)):
        if len(np.unique(part.labels)) < 2:
            raise DataError(f"the {name} part holds one class only", remedy="use more data or another --fold")
    model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = new_optimizer(model, recipe)
    resumed = load_checkpoint(folder / "checkpoints", model, optimizer)
    progress, best, average = resumed or (TrainingState(), weights_of(model), None)
    if resumed and runtime.is_main:  # killed between the checkpoint and what follows it
        drop_older(folder / "checkpoints")
        _write_history(folder, progress)
    if average is None and recipe.averaging:
        average = start_average(model)
    network: nn.Module = model
    if runtime.world > 1:
        share_batch_norm(model, runtime.device)
    scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype is torch.float16)
    if progress.scaler:
        scaler.load_state_dict(progress.scaler)

    while not progress.finished:
        started = time.perf_counter()
        set_learning(model, recipe.stages, progress.epoch)
        if runtime.world > 1 and (network is model or progress.epoch == recipe.stages.frozen_epochs):
            network = DistributedDataParallel(model)  # it averages what gets gradients when it is made
        figures = train_epoch(network, model, average, optimizer, scaler, recipe, train, progress, runtime, on_step)
        with averaged(model, average):
            measured = score(model, val, recipe.batch_size, runtime, epoch=progress.epoch + 1)
            figures |= {f"val_{k}": v for k, v in measured.items()}
            figures["seconds"] = round(time.perf_counter() - started, 2)
            progress.epoch += 1
            progress.history.append({"epoch": progress.epoch, **figures})
            better = progress.best_loss is None or figures["val_loss"] < progress.best_loss
            if better or recipe.keep == "last":
                progress.best_loss, progress.best_epoch, best = figures["val_loss"], progress.epoch, weights_of(model)
        progress.finished = progress.epoch >= recipe.epochs or _stops_early(recipe, progress)
        progress.scaler = scaler.state_dict()
        if runtime.is_main:
            save_checkpoint(folder / "checkpoints", model, best, average, optimizer, progress)
            _write_history(folder, progress)
        if on_epoch:
            on_epoch(progress.history[-1])
        runtime.wait()
    model.load_state_dict(best)
    model.requires_grad_(True)
    return FitResult(progress.history, progress.best_epoch)


def _write_history(folder: Path, progress: TrainingState) -> None:
    write_text(folder / "metrics.jsonl", "".join(json.dumps(h) + "\n" for h in progress.history))


def _diverged(epoch: int, how: str) -> TrainingError:
    return TrainingError(
        f"training diverged in epoch {epoch}: {how}", remedy="lower optimizer.learning_rate, or use precision=fp32"
    )


def score(
    model: CellClassifier, part: FrameSource, batch_size: int, runtime: Runtime, *, epoch: int = 0
) -> dict[str, float]:
    """Mean cross-entropy, accuracy at 0.5 and ROC AUC over a part, unweighted; every process computes the whole.

    Raises:
        TrainingError: an answer is no number; ``epoch`` is named.
    """
    logits = predict(model, part, batch_size, runtime)
    if not bool(torch.isfinite(logits).all()):
        raise _diverged(epoch, "answers on the validation part are no longer numbers")
    labels = torch.from_numpy(part.labels).float()
    return {
        "loss": float(batch_loss(logits[:, None], labels, (1.0, 1.0))) / len(part),
        "accuracy": float(((logits >= 0).float() == labels).float().mean()),
        "auc": float(roc_auc_score(part.labels, logits.numpy())),
    }


@torch.inference_mode()
def predict(model: CellClassifier, part: FrameSource, batch_size: int, runtime: Runtime) -> Tensor:
    """Logits of a part without augmentation, float32 [N], on the CPU."""
    model.eval()
    logits = []
    for positions in torch.split(torch.arange(len(part)), batch_size):
        frames, _ = part.batch(positions)
        with runtime.autocast():
            logits.append(model(augment.to_float(frames))[:, 0].float().cpu())
    return torch.cat(logits)


def train_epoch(
    network: nn.Module,
    model: CellClassifier,
    average: dict[str, Tensor] | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    train: FrameSource,
    progress: TrainingState,
    runtime: Runtime,
    on_step: Listener | None,
) -> dict[str, float]:
    """Show a network each picture of an epoch, and move its weights; returns loss and learning rate.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    epoch = progress.epoch
    network.train()
    set_modes(model, recipe.stages, epoch)
    torch.manual_seed(seed_for("dropout", recipe.seed, epoch, runtime.rank))
    weights = class_weights(train.labels, recipe.balance)
    order = epoch_order(train.labels, recipe.balance, recipe.seed, epoch, groups=train.groups)
    batches = _batches(order, recipe.batch_size, runtime.world)
    losses = [float(h["val_loss"]) for h in progress.history]
    total, seen, rate = 0.0, 0, recipe.optimizer.learning_rate
    for step, batch in enumerate(batches):
        rate = learning_rate(recipe.schedule, recipe.optimizer.learning_rate, losses, step, len(batches), recipe.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        # The draws are those of the whole batch, so that any number of processes sees the same pictures.
        generator = generator_for("augment", recipe.seed, epoch, step)
        draws = augment.draw(len(batch), recipe.augment, generator).each(runtime.share)
        frames, labels = train.batch(runtime.share(batch))
        pictures = augment.apply(augment.to_float(frames), draws)
        with runtime.autocast():
            loss = batch_loss(network(pictures), labels, weights, recipe.label_smoothing) / len(batch)
        optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes, and each holds only its share of the sum.
        scaler.scale(loss * runtime.world).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        if average is not None:
            move_average(average, model, recipe.averaging)
        value = float(runtime.sum(loss.detach().clone()))
        if not math.isfinite(value):
            raise _diverged(epoch + 1, f"the loss is {value} at step {step + 1}")
        total, seen = total + value * len(batch), seen + len(batch)
        if on_step:
            on_step({"epoch": epoch + 1, "step": step + 1, "steps": len(batches), "loss": total / seen})
    return {"loss": total / seen, "learning_rate": rate}


def _batches(order: NDArray[np.int64], size: int, world: int) -> list[Tensor]:
    batches = list(torch.split(torch.from_numpy(order), size))
    # Every process needs a picture; a last batch too small for that is left to the next epoch's order.
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < world else batches


def new_optimizer(model: CellClassifier, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over a network's parameters, at its start."""
    settings, groups = recipe.optimizer, parameter_groups(model, recipe.stages)
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, settings.learning_rate, weight_decay=settings.weight_decay)


def _stops_early(recipe: Recipe, progress: TrainingState) -> bool:
    losses = [float(h["val_loss"]) for h in progress.history]
    return recipe.early_stopping is not None and epochs_without_improvement(losses) >= recipe.early_stopping.patience
