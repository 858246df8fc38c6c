"""What JPEG leaves of pictures, as tensor operations: blocks of 8x8, cosine transform, quantised coefficients.

Colours keep their full resolution. Quantisation tables and colour space: ITU-T T.81 (JPEG), annex K, and T.871 (JFIF);
how a quality becomes a table: Independent JPEG Group's library.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

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
