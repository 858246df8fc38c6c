"""The resize at the head of a graph, as two products with bands of the filter: the same numbers, in half the time.

ONNX Runtime's antialiased ``Resize`` runs one number at a time on a CPU. A separable filter is a product of the frame's
rows, and then of its columns, with a matrix that is zero but for a band along its diagonal. Both matrices are cut into
blocks of a few output lines, each with the input lines that it needs, so that most of the zeros are left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 16  # output lines of a block, if the size can be divided so: fewer zeros below, fewer calls above


def triangle_filter(frame: int, size: int) -> NDArray[np.float64]:
    """Weights of antialiased bilinear interpolation along one axis, float64 [size, frame], rows summing to 1.

    A triangle as wide as the reduction, cut and normalised at the borders, as Pillow and PyTorch have it.

    >>> triangle_filter(4, 2).round(3).tolist()
    [[0.429, 0.429, 0.143, 0.0], [0.0, 0.143, 0.429, 0.429]]
    """
    scale = frame / size
    width = max(scale, 1.0)
    middle = (np.arange(size)[:, None] + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(frame) + 0.5 - middle) / width, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def resize(frames: Tensor, size: int) -> Tensor:
    """Resize by antialiased bilinear interpolation, as ``cells.resize_frame`` does but for rounding.

    Args:
        frames: uint8 RGB [N, F, F, 3].
        size: side of the result in pixels.

    Returns:
        float32 [N, 3, S, S], 0..255, not rounded.
    """
    side = frames.shape[1]
    lines, bands = (torch.from_numpy(each).to(frames.device) for each in _bands(side, size))
    blocks, _, span = bands.shape
    rows = frames.reshape(-1, side, 3 * side).index_select(1, lines).reshape(-1, blocks, span, 3 * side)
    low = torch.matmul(bands, rows.float()).reshape(-1, size, side, 3)
    columns = low.permute(0, 2, 3, 1).reshape(-1, side, 3 * size).index_select(1, lines)
    both = torch.matmul(bands, columns.reshape(-1, blocks, span, 3 * size)).reshape(-1, size, 3, size)
    return both.permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def _bands(frame: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Input lines of all blocks, int64 [B * K], and what each block weighs them with, float32 [B, size / B, K]."""
    weights = triangle_filter(frame, size)
    lines = min((n for n in range(4, 65) if size % n == 0), key=lambda n: abs(n - _BLOCK), default=size)
    parts = weights.reshape(-1, lines, frame)
    used = [np.flatnonzero(part.any(axis=0)) for part in parts]
    span = max(int(each[-1] - each[0]) + 1 for each in used)
    starts = [min(int(each[0]), frame - span) for each in used]
    cut = np.stack([part[:, start : start + span] for part, start in zip(parts, starts, strict=True)])
    return np.concatenate([np.arange(start, start + span) for start in starts]), cut.astype(np.float32)
