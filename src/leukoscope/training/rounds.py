"""A site's part in a training round over several sites: one epoch on its own cells, from the weights that all share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leukoscope.errors import DataError, TrainingError
from leukoscope.models import CellClassifier
from leukoscope.training.batches import FrameSource
from leukoscope.training.checkpoint import TrainingState
from leukoscope.training.loop import new_optimizer, train_epoch
from leukoscope.training.recipe import Recipe
from leukoscope.training.runtime import Runtime


def local_round(
    weights: Mapping[str, NDArray[Any]],
    recipe: Recipe,
    seed: int,
    model: CellClassifier,
    source: FrameSource,
    runtime: Runtime,
    *,
    number: int = 0,
) -> tuple[dict[str, NDArray[Any]], int, dict[str, float]]:
    """Train an epoch from given weights; nothing but the arguments decides the result, and nothing is kept.

    The optimiser starts anew in each round, as in federated averaging (McMahan et al. 2017). Weights are combined by
    `leukoscope.federation.rounds.combine`.

    Args:
        weights: of the network, by name. Statistics of batch normalisation that are not among them stay as the model
            has them: a site's own, where these stay at home.
        recipe: how to train; its number of epochs is the number of rounds that the schedule counts with.
        seed: of order and augmentation, the site's own.
        model: of the recipe; is overwritten.
        source: the site's pictures, with their patient groups.
        runtime: device and precision.
        number: of the round, from 0.

    Returns:
        Weights, number of patient groups, and loss and learning rate.

    Raises:
        DataError: the site has one class only, or its patients are not known.
        TrainingError: weights do not fit the network, or training diverged.
    """
    if len(np.unique(source.labels)) < 2 or source.groups is None:
        raise DataError("a site needs cells of both classes, and to know their patients, to train a network")
    state = {name: torch.from_numpy(np.array(each)) for name, each in weights.items()}
    try:
        told = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise TrainingError(
            f"weights do not fit the network ({error})", remedy="use the recipe of all sites"
        ) from error
    lacking = [name for name in told.missing_keys if "running_" not in name and "num_batches" not in name]
    if wrong := [*lacking, *told.unexpected_keys]:
        raise TrainingError(f"weights do not fit the network ({wrong[0]})", remedy="use the recipe of all sites")
    model.to(runtime.device)
    own = recipe.model_copy(update={"seed": seed})
    # No site has a validation part that speaks for all: a schedule that waits for one never reduces its rate.
    progress = TrainingState(epoch=number, history=[{"val_loss": -float(done)} for done in range(number)])
    figures = train_epoch(
        model, model, None, new_optimizer(model, own), torch.amp.GradScaler(enabled=False), own, source, progress,
        runtime, None,
    )  # fmt: skip
    made = {name: each.detach().cpu().numpy().copy() for name, each in model.state_dict().items()}
    return made, len(np.unique(source.groups)), figures
