"""A running mean of the weights, which generalises better than the last step's (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
