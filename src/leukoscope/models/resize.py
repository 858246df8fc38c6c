"""The resize at the head of a graph, as two products with bands of the filter: the same numbers, in half the time.

ONNX Runtime's antialiased ``Resize`` runs one number at a time on a CPU. A separable filter is a product of the frame's
rows, and then of its columns, with a matrix that is zero but for a band along its diagonal. Both matrices are cut into
blocks of a few output lines, each with the input lines that it needs, so that most of the zeros are left out.

A runtime is free in the order of its sums, and a level that lies at the half would be rounded up by one and down by
another, so the sums are exact. The weights of such a filter are whole numbers, divided by their sum at the very end;
sums of the first product fit the 24 bits of float32, and for the second one they are cut in two.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 16  # output lines of a block, if the size can be divided so: fewer zeros below, fewer calls above


def triangle_filter(frame: int, size: int) -> NDArray[np.int64]:
    """Weights of antialiased bilinear interpolation along one axis, int64 [size, frame], each row up to its sum.

    A triangle as wide as the reduction, cut at the borders, as Pillow and PyTorch have it.

    >>> triangle_filter(4, 2).tolist()
    [[3, 3, 1, 0], [0, 1, 3, 3]]
    """
    common = math.gcd(frame, size)
    frame_, size_ = frame // common, size // common
    away = size_ * (2 * np.arange(frame) + 1) - frame_ * (2 * np.arange(size)[:, None] + 1)
    return np.asarray(np.maximum(2 * max(frame_, size_) - np.abs(away), 0))


def resize(frames: Tensor, size: int) -> Tensor:
    """Resize by antialiased bilinear interpolation, as ``cells.resize_frame`` does but for rounding.

    Args:
        frames: RGB [N, F, F, 3], uint8 or whole numbers 0..255.
        size: side of the result in pixels.

    Returns:
        float32 [N, 3, S, S], 0..255, not rounded to levels; the same numbers in every runtime.
    """
    side = frames.shape[1]
    *tables, part = _bands(side, size)
    lines, bands, sums = (torch.from_numpy(each).to(frames.device) for each in tables)
    blocks, _, span = bands.shape
    rows = frames.reshape(-1, side, 3 * side).index_select(1, lines).reshape(-1, blocks, span, 3 * side)
    low = torch.matmul(bands, rows.float()).reshape(-1, size, side, 3)
    turned = low.permute(0, 2, 3, 1).reshape(-1, side, 3 * size)
    high = (turned / part).floor()
    columns = torch.cat([high, turned - high * part], 2).index_select(1, lines)
    both = torch.matmul(bands, columns.reshape(-1, blocks, span, 6 * size)).reshape(-1, size, 6, size)
    total = both[:, :, :3] * part + both[:, :, 3:]  # rounded here for the first time, by itself
    return (total / sums / sums[:, None, None]).permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def _bands(frame: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], float]:
    """Input lines of all blocks, int64 [B * K]; weights of each block, [B, size / B, K]; their sums, [size]; a cut.

    The cut divides sums of the first product in two of about as many bits.
    """
    weights = triangle_filter(frame, size)
    lines = min((n for n in range(4, 65) if size % n == 0), key=lambda n: abs(n - _BLOCK), default=size)
    parts = weights.reshape(-1, lines, frame)
    used = [np.flatnonzero(part.any(axis=0)) for part in parts]
    span = max(int(each[-1] - each[0]) + 1 for each in used)
    starts = [min(int(each[0]), frame - span) for each in used]
    cut = np.stack([part[:, start : start + span] for part, start in zip(parts, starts, strict=True)])
    chosen = np.concatenate([np.arange(start, start + span) for start in starts])
    sums = weights.sum(axis=1)
    part = 2.0 ** math.ceil(math.log2(255 * int(sums.max())) / 2)
    return chosen, cut.astype(np.float32), sums.astype(np.float32), part
