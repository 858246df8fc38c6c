"""Which cells look alike to the network: nearest by the angle between their embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALIKE = 4
_BLOCK = 512  # rows compared at a time, so that 10,000 cells need 20 MB


def most_alike(embeddings: NDArray[np.float32], count: int = ALIKE) -> list[list[int]]:
    """For each row the ``count`` others of highest cosine similarity, the most alike first; ties: the earlier row.

    Args:
        embeddings: float32 [N, E]. A row without length is alike to none before others.
        count: how many at most.

    >>> most_alike(np.float32([[1, 0], [0, 1], [2, 0.1]]), 1)
    [[2], [2], [0]]
    """
    if len(embeddings) < 2:
        return [[] for _ in embeddings]
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(length > 0, length, 1)
    found: list[list[int]] = []
    for start in range(0, len(unit), _BLOCK):
        similar = unit[start : start + _BLOCK] @ unit.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -np.inf
        found += [_highest(row, min(count, len(unit) - 1)) for row in similar]
    return found


def _highest(row: NDArray[np.float32], count: int) -> list[int]:
    """Places of the ``count`` highest values, the highest first, ties the earlier first: only those are sorted."""
    if count < 1:
        return []
    least = np.partition(row, -count)[-count]
    places = np.flatnonzero(row >= least)  # more than ``count`` only where the last ties
    return [int(place) for place in places[np.argsort(-row[places], kind="stable")][:count]]
