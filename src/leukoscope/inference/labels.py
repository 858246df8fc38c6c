"""Where the numbers of a field's cells stand: each beside its cell, none over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_FURTHEST = 40  # steps of half a label away from the cell

Box = Sequence[float]  # x, y, width, height
_Array = NDArray[np.float64]


def label_boxes(cells: Sequence[tuple[str, Box]], size: tuple[int, int], height: float) -> list[tuple[float, ...]]:
    """A box for the number of each cell: near its cell's, within the picture, and over as little of others as may be.

    Args:
        cells: of each its number, as it is written, and its box in pixels.
        size: width and height of the picture.
        height: of a label, pixels; a digit is half as wide, and half a digit is left free on either side.

    Returns:
        x, y, width and height for each cell. Two overlap only where the picture is too full for all of them.
    """
    boxes = np.array([box for _, box in cells], np.float64).reshape(-1, 4)
    placed = np.zeros_like(boxes)
    for at, (number, _) in enumerate(cells):
        label = np.array([(len(number) + 1) * height / 2, height])
        others = np.delete(boxes, at, axis=0)
        for spots in _around(boxes[at], label, np.array(size, np.float64)):
            free = spots[_covered(spots, placed[:at]) == 0]
            if len(free):
                placed[at] = free[np.argmin(_covered(free, others))]
                break
            placed[at] = spots[0]
    return [tuple(box) for box in placed.tolist()]


def _around(
    cell: NDArray[np.float64], label: NDArray[np.float64], size: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Boxes [11, 4] for a label around a cell's box, from step to step further away, and upon its middle."""
    (x, y, width, height), (wide, high) = cell, label
    for step in range(_FURTHEST):
        gap = step * high / 2
        above, below, left, right = y - high - gap, y + height + gap, x - wide - gap, x + width + gap
        across = (x, x + width - wide, x + (width - wide) / 2)
        spots = [(at, row) for row in (above, below) for at in across]
        spots += [(column, at) for column in (right, left) for at in (y, y + height - high)]
        spots.append((across[2], y + (height - high) / 2))  # hides its own cell, which no other can be meant by
        corners = np.clip(np.array(spots), 0, np.maximum(size - label, 0))
        yield np.concatenate([corners, np.broadcast_to(label, corners.shape)], axis=1)


def _covered(spots: _Array, boxes: _Array) -> _Array:
    """Area of each of the spots, [S, 4], that boxes, [B, 4], cover; float64 [S], what two cover counted twice."""
    low = np.maximum(spots[:, None, :2], boxes[None, :, :2])
    high = np.minimum(spots[:, None, :2] + spots[:, None, 2:], boxes[None, :, :2] + boxes[None, :, 2:])
    covered: _Array = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    return covered
