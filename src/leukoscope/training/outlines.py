"""Errors of another segmentation: a cell cut out too tightly or too widely, with a bite missing or a scrap attached.

How a cell was cut out tells the day of its preparation better than its disease (docs/champion.md): these changes take
that away from what can be learnt.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

GROUND: Final = (0.894, 0.855, 0.875)  # of a smear's plasma, assumed
RED_CELL: Final = (0.769, 0.588, 0.627)  # assumed


def shift_outlines(pictures: Tensor, shifts: Tensor) -> Tensor:
    """Move each cell's outline outwards or inwards, smoothing it; ground comes in where the cell was not cut out.

    The mask is smoothed by a box. Along a straight edge the share of cell in the box falls evenly, so that a level of
    that share is an outline moved by so many pixels.

    Args:
        pictures: float [N, 3, S, S] in 0..1, exactly 0 outside the cell.
        shifts: pixels, float [N], positive outwards.
    """
    reach = math.ceil(float(shifts.abs().max())) + 1
    shifts = shifts[:, None, None, None]
    inside = cell_of(pictures)
    share = F.avg_pool2d(inside, 2 * reach + 1, 1, padding=reach)
    moved = (share > 0.5 - shifts / (2 * reach + 1)).to(pictures.dtype)
    return _laid_under(pictures, inside, moved * (shifts > 0), GROUND) * moved


def hang_scraps(pictures: Tensor, angles: Tensor, radii: Tensor) -> Tensor:
    """Attach a scrap of a red cell to the outline, or bite a piece off.

    Args:
        pictures: float [N, 3, S, S] in 0..1, exactly 0 outside the cell.
        angles: where, float [N], radians: the point of the cell that is farthest in that direction.
        radii: of the disc around that point, as a share of the radius of the cell's area, float [N]; positive: a scrap
            of a red cell, negative: a bite.
    """
    size = pictures.shape[-1]
    inside = cell_of(pictures)
    steps = torch.arange(size, device=pictures.device, dtype=pictures.dtype)
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    along = row * torch.sin(angles)[:, None, None] + column * torch.cos(angles)[:, None, None]
    farthest = along.masked_fill(inside[:, 0] == 0, -math.inf).flatten(1).argmax(1)
    y, x = (farthest // size)[:, None, None], (farthest % size)[:, None, None]
    radius = radii.abs()[:, None, None] * (inside.sum((1, 2, 3)) / math.pi).sqrt()[:, None, None]
    disc = ((row - y).square() + (column - x).square() <= radius.square())[:, None]
    added = (radii > 0)[:, None, None, None]
    bitten = torch.where(disc & ~added, 0.0, pictures)
    scrap = (disc & added).to(pictures.dtype)
    return _laid_under(bitten, inside, scrap, RED_CELL)


def cell_of(pictures: Tensor) -> Tensor:
    """1 where a picture is not black, else 0: float [N, 1, S, S], planar (else PyTorch pools five times slower)."""
    return (pictures.amax(1) > 0).to(pictures.dtype).unsqueeze(1)


def _laid_under(pictures: Tensor, inside: Tensor, region: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Colour where a region [N, 1, S, S] is not covered by the cell.

    A pixel on the outline was mixed with black when the frame was made smaller: it covers as much as it is bright
    beside its brightest neighbour.
    """
    brightness = pictures.amax(1).unsqueeze(1)
    near = F.max_pool2d(brightness, 3, 1, padding=1)
    on_outline = F.max_pool2d(1 - inside, 3, 1, padding=1)
    coverage = inside * torch.lerp(torch.ones_like(near), brightness / near.clamp_min(1e-6), on_outline)
    return pictures + region * (1 - coverage) * pictures.new_tensor(colour)[:, None, None]
