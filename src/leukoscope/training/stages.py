"""Transfer in stages: first only the head learns on frozen features, then everything, the features more slowly."""

from __future__ import annotations

from typing import Any

from torch import nn

from leukoscope.models import CellClassifier
from leukoscope.training.recipe import Stages


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
