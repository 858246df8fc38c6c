"""Random changes of a batch of pictures, as tensor operations on the device, one draw per picture.

Black stays black under every change of light and colour, so that none of them paints the surround.

What JPEG leaves of pictures, as tensor operations: blocks of 8x8, cosine transform, quantised coefficients.

Colours keep their full resolution. Quantisation tables and colour space: ITU-T T.81 (JPEG), annex K, and T.871 (JFIF);
how a quality becomes a table: Independent JPEG Group's library.

Errors of another segmentation: a cell cut out too tightly or too widely, with a bite missing or a scrap attached.

How a cell was cut out tells the day of its preparation better than its disease (docs/champion.md): these changes take
that away from what can be learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from leukoscope.training.recipe import Augmentation

BLOCK: Final = 8
_LUMINANCE: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE: Final = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
_TO_YCC: Final = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(pictures: Tensor, quality: Tensor) -> Tensor:
    """Write and read pictures as JPEG of the given quality.

    Args:
        pictures: float [N, 3, H, W] in 0..1.
        quality: float [N], 1 to 100; more is finer.

    Returns:
        The same shape; slightly beyond 0..1 where coefficients were rounded outwards.
    """
    height, width = pictures.shape[-2:]
    below, right = -height % BLOCK, -width % BLOCK
    padded = F.pad(pictures, (0, right, 0, below), mode="replicate") if below or right else pictures
    to_ycc = pictures.new_tensor(_TO_YCC)
    level = pictures.new_tensor([128.0, 0, 0])[:, None, None]
    planes = torch.einsum("nchw,kc->nkhw", padded * 255, to_ycc) - level
    rows, columns = (side // BLOCK for side in planes.shape[-2:])
    squares = planes.reshape(-1, 3, rows, BLOCK, columns, BLOCK).transpose(3, 4)  # [N, 3, rows, columns, 8, 8]
    basis, step = _basis().to(pictures), quantisation(quality)[:, :, None]
    coefficients = squares.reshape(len(pictures), 3, -1, BLOCK * BLOCK) @ basis.T
    coefficients = (coefficients / step).round() * step
    squares = (coefficients @ basis).view_as(squares)
    planes = squares.transpose(3, 4).flatten(4, 5).flatten(2, 3) + level
    rgb = torch.einsum("nkhw,ck->nchw", planes, torch.linalg.inv(to_ycc)) / 255
    return rgb[:, :, :height, :width]


def quantisation(quality: Tensor) -> Tensor:
    """Steps of the coefficients of quality [N], float [N, 3, 64]: luminance and twice chrominance."""
    tables = quality.new_tensor([_LUMINANCE, _CHROMINANCE, _CHROMINANCE])
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    return ((tables * scale + 50) / 100).floor().clamp(1, 255)


@cache
def _basis() -> Tensor:
    """The 64 waves of the orthonormal cosine transform (DCT-II) of a block, each a row: float32 [64, 64]."""
    u, x = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None]
    wave = torch.cos((2 * x + 1) * u * math.pi / (2 * BLOCK)) / 2
    wave[0] /= math.sqrt(2)
    return torch.einsum("uy,va->uvya", wave, wave).reshape(BLOCK * BLOCK, BLOCK * BLOCK)


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


_GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601
_DARKEST = 1 / 255


@dataclass(frozen=True, slots=True)
class Draws:
    """What is to be done to each picture of a batch; float32, on the CPU.

    Attributes:
        maps: affine maps from output to input coordinates in -1..1, y down, [N, 2, 3].
        gain: factor of each colour, [N, 3]; brightness and stain together.
        gamma: exponent of each colour, [N, 3]: a factor of the optical density.
        saturation: factor of the distance from grey, [N].
        sharpness: factor of the fine detail, the difference from the 3x3 mean, [N].
        stain: new optical densities as mixtures of the old, [N, 3, 3].
        outline: pixels by which the outline is moved outwards, [N].
        scraps: angle in radians and radius of a scrap (positive) or a bite (negative), [N, 2].
        quality: of JPEG, [N]; 100 leaves the picture as it is.
    """

    maps: Tensor
    gain: Tensor
    gamma: Tensor
    saturation: Tensor
    sharpness: Tensor
    stain: Tensor
    outline: Tensor
    scraps: Tensor
    quality: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        """The same with ``change`` applied to every tensor, such as a share or a copy on a device."""
        return Draws(*(change(getattr(self, f.name)) for f in fields(self)))


def draw(count: int, settings: Augmentation, generator: torch.Generator) -> Draws:
    """Draw one change per picture.

    Args:
        count: number of pictures.
        settings: ranges.
        generator: a CPU generator, so that the draws are the same on every device.
    """
    angle, zoom, brightness, horizontal, vertical = torch.rand(5, count, generator=generator)
    colour = torch.rand(8, count, generator=generator) * 2 - 1
    angle = (angle * 2 - 1) * math.radians(settings.rotation_degrees)
    scale = torch.exp(-(zoom * 2 - 1) * math.log1p(settings.zoom))  # zooming in reads a smaller part of the input
    flip_x = 1 - 2 * ((horizontal < 0.5) & settings.flip_horizontal).float()
    flip_y = 1 - 2 * ((vertical < 0.5) & settings.flip_vertical).float()
    cos, sin, zero = torch.cos(angle) * scale, torch.sin(angle) * scale, torch.zeros(count)
    maps = torch.stack([cos * flip_x, -sin * flip_y, zero, sin * flip_x, cos * flip_y, zero], 1).view(-1, 2, 3)
    light = 1 + (brightness * 2 - 1) * settings.brightness
    mixing = (torch.rand(count, 3, 3, generator=generator) * 2 - 1) * settings.stain * (1 - torch.eye(3))
    shift, cut_anew, where, size, hangs, bites, coarse, written = torch.rand(8, count, generator=generator)
    # Half of the cells keep what they came with, which is what most will come with.
    outline = (shift * 2 - 1) * settings.outline * (cut_anew < 0.5)
    radius = (0.15 + 0.3 * size) * (hangs < settings.scraps) * (1 - 2 * (bites < 0.5).float())
    return Draws(
        maps=maps,
        gain=(light * (1 + colour[:3] * settings.channels)).T,
        gamma=torch.exp(colour[3:6] * math.log1p(settings.gamma)).T,
        saturation=1 + colour[6] * settings.saturation,
        sharpness=1 + colour[7] * settings.sharpness,
        stain=torch.eye(3) + mixing,
        outline=outline,
        scraps=torch.stack([where * 2 * math.pi, radius], 1),
        quality=100 - coarse * settings.compression * (written < 0.5),
    )


def to_float(frames: Tensor) -> Tensor:
    """Turn uint8 [N, S, S, 3] into float32 [N, 3, S, S] in 0..1, channels last in memory."""
    return frames.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def apply(pictures: Tensor, draws: Draws) -> Tensor:
    """Apply drawn changes to float [N, 3, S, S] in 0..1; what comes in from outside is black, as the surround is.

    Changes whose draws are all neutral are left out, and cost nothing.
    """
    identity = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    draw = draws.each(lambda values: values.to(pictures.device))
    if not torch.equal(draws.maps, identity.expand_as(draws.maps)):
        grid = F.affine_grid(draw.maps, list(pictures.shape), align_corners=False)
        pictures = F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    moved, hung = _chosen(draws.outline != 0, pictures), _chosen(draws.scraps[:, 1] != 0, pictures)
    if len(moved):
        pictures = pictures.index_copy(0, moved, shift_outlines(pictures[moved], draw.outline[moved]))
    if len(hung):
        pictures = pictures.index_copy(0, hung, hang_scraps(pictures[hung], *draw.scraps[hung].unbind(1)))
    if (draws.sharpness != 1).any():
        inside = cell_of(pictures)
        smooth = F.avg_pool2d(pictures, 3, 1, padding=1, count_include_pad=False)
        pictures = torch.lerp(smooth, pictures, draw.sharpness[:, None, None, None]).clamp_min(0) * inside
    if (draws.saturation != 1).any():
        grey = torch.einsum("nchw,c->nhw", pictures, pictures.new_tensor(_GREY))[:, None]
        pictures = torch.lerp(grey, pictures, draw.saturation[:, None, None, None]).clamp_min(0)
    if (draws.stain != torch.eye(3)).any():
        density = -pictures.clamp_min(1 / 255).log()
        pictures = torch.exp(-torch.einsum("nchw,nkc->nkhw", density, draw.stain)) * cell_of(pictures)
    if (draws.gamma != 1).any():
        pictures = pictures.pow(draw.gamma[:, :, None, None])
    pictures = (pictures * draw.gain[:, :, None, None]).clamp_(0, 1)
    coarse = _chosen(draws.quality < 100, pictures)
    if len(coarse):
        before = pictures[coarse]
        # A cell's own dark pixels stay above the surround.
        after = compress(before, draw.quality[coarse]).clamp(_DARKEST, 1) * cell_of(before)
        pictures = pictures.index_copy(0, coarse, after)
    return pictures


def _chosen(which: Tensor, pictures: Tensor) -> Tensor:
    return which.nonzero()[:, 0].to(pictures.device)
