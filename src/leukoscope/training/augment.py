"""Random changes of a batch of pictures, as tensor operations on the device, one draw per picture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from leukoscope.training.recipe import Augmentation


def draw(count: int, settings: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one change per picture.

    Args:
        count: number of pictures.
        settings: ranges.
        generator: a CPU generator, so that the draws are the same on every device.

    Returns:
        Affine maps from output to input coordinates in -1..1 (y down), float32 [N, 2, 3]; brightness factors,
        float32 [N].
    """
    angle, zoom, brightness, horizontal, vertical = torch.rand(5, count, generator=generator)
    angle = (angle * 2 - 1) * math.radians(settings.rotation_degrees)
    scale = torch.exp(-(zoom * 2 - 1) * math.log1p(settings.zoom))  # zooming in reads a smaller part of the input
    flip_x = 1 - 2 * ((horizontal < 0.5) & settings.flip_horizontal).float()
    flip_y = 1 - 2 * ((vertical < 0.5) & settings.flip_vertical).float()
    cos, sin, zero = torch.cos(angle) * scale, torch.sin(angle) * scale, torch.zeros(count)
    maps = torch.stack([cos * flip_x, -sin * flip_y, zero, sin * flip_x, cos * flip_y, zero], 1).view(-1, 2, 3)
    return maps, 1 + (brightness * 2 - 1) * settings.brightness


def to_float(frames: Tensor) -> Tensor:
    """Turn uint8 [N, S, S, 3] into float32 [N, 3, S, S] in 0..1, channels last in memory."""
    return frames.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def apply(pictures: Tensor, maps: Tensor, brightness: Tensor) -> Tensor:
    """Apply drawn changes to float [N, 3, S, S] in 0..1; what comes in from outside is black, as the surround is."""
    identity = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    if not torch.equal(maps, identity.expand_as(maps)):
        grid = F.affine_grid(maps.to(pictures.device), list(pictures.shape), align_corners=False)
        pictures = F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    return (pictures * brightness.to(pictures.device)[:, None, None, None]).clamp_(0, 1)
