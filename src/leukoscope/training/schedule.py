"""The learning rate as a pure function of what has happened, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from leukoscope.training.recipe import OneCycle, Plateau

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
