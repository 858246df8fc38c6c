"""Random changes of a batch of pictures, as tensor operations on the device, one draw per picture.

Black stays black under every change of light and colour, so that none of them paints the surround.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from leukoscope.training.compression import compress
from leukoscope.training.outlines import cell_of, hang_scraps, shift_outlines
from leukoscope.training.recipe import Augmentation

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
