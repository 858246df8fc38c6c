"""How weights are moved: the learning rate as a pure function of what has happened, stages of transfer, a running mean.

A resumed run needs no scheduler state. In stages, first only the head learns on frozen features, then everything, the
features more slowly. The mean of weights generalises better than the last step's (Polyak & Juditsky 1992).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from leukoscope.models import CellClassifier
from leukoscope.training.recipe import OneCycle, Plateau, Stages

MIN_DELTA = 1e-4  # an improvement smaller than this is none; Keras' default


def learning_rate(
    schedule: Plateau | OneCycle, peak: float, losses: Sequence[float], step: int, steps_per_epoch: int, epochs: int
) -> float:
    """Learning rate of a step.

    Args:
        schedule: which schedule.
        peak: the recipe's learning rate.
        losses: validation loss of each finished epoch.
        step: number of the step within the epoch.
        steps_per_epoch: steps of an epoch.
        epochs: epochs of the whole run.
    """
    if isinstance(schedule, Plateau):
        return peak * schedule.factor ** reductions(losses, schedule.patience)
    done = (len(losses) * steps_per_epoch + step) / (epochs * steps_per_epoch)
    if done < schedule.warmup:
        return peak * (0.04 + 0.96 * (1 - math.cos(math.pi * done / schedule.warmup)) / 2)
    return peak * (1 + math.cos(math.pi * (done - schedule.warmup) / (1 - schedule.warmup))) / 2


def reductions(losses: Sequence[float], patience: int) -> int:
    """How often ReduceLROnPlateau (Keras: patience without improvement, then start counting anew) has reduced."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best - MIN_DELTA:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= patience:
            count, waited = count + 1, 0
    return count


def epochs_without_improvement(losses: Sequence[float]) -> int:
    """Finished epochs since the best validation loss; early stopping compares it with its patience."""
    return len(losses) - 1 - min(range(len(losses)), key=losses.__getitem__) if losses else 0


def start_average(model: nn.Module) -> dict[str, Tensor]:
    """The mean at its start: a copy of all parameters and floating-point buffers, on their device."""
    return {name: value.detach().clone() for name, value in model.state_dict().items() if value.is_floating_point()}


@torch.no_grad()
def move_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the mean towards the network's present state, in place: ``decay * mean + (1 - decay) * state``."""
    state = model.state_dict()
    for name, mean in average.items():
        mean.lerp_(state[name], 1 - decay)


@contextmanager
def averaged(model: nn.Module, average: dict[str, Tensor] | None) -> Iterator[None]:
    """Within the block the network holds the mean (if there is one), afterwards its own state again."""
    if average is None:
        yield
        return
    own = {name: value.clone() for name, value in model.state_dict().items() if name in average}
    model.load_state_dict(average, strict=False)
    try:
        yield
    finally:
        model.load_state_dict(own, strict=False)


def frozen(stages: Stages, epoch: int) -> bool:
    """Whether the features are frozen in an epoch, counted from 0."""
    return epoch < stages.frozen_epochs


def set_learning(model: CellClassifier, stages: Stages, epoch: int) -> None:
    """Say which parameters get gradients in an epoch: those of the head, or all."""
    model.requires_grad_(not frozen(stages, epoch))
    model.head.requires_grad_(True)


def set_modes(model: CellClassifier, stages: Stages, epoch: int) -> None:
    """Put the parts of a network into training or evaluation mode for an epoch.

    Frozen features are in evaluation mode altogether: their batch normalisation neither uses nor updates the statistics
    of the batch. With ``batch_norm="frozen"`` that stays so while they learn; slopes and offsets learn all the same.
    """
    model.train(not frozen(stages, epoch))
    model.head.train()
    if stages.batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def parameter_groups(model: CellClassifier, stages: Stages) -> list[dict[str, Any]]:
    """What an optimiser gets: all parameters, or the features' apart with their factor of the learning rate."""
    if stages.features_rate == 1:
        return [{"params": list(model.parameters())}]
    head = list(model.head.parameters())
    chosen = {id(p) for p in head}
    features = [p for p in model.parameters() if id(p) not in chosen]
    return [{"params": features, "factor": stages.features_rate}, {"params": head}]
