"""Whether cells come out of one preparation: two laboratories mixed teach a head which is which."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.counts import Array

FEWEST: Final = 40  # cells; with fewer, chance parts them as far
APART: Final = 4.0  # of a normal distribution cut into halves it is 2.7; cells of one laboratory reached 3.9
_STARTS: Final = 3  # axes along which the parting begins
_ROUNDS: Final = 30


def apart(measures: Array, label: NDArray[np.int64]) -> tuple[float, NDArray[np.bool_]]:
    """How far cells part into two heaps, and which belong to the smaller one.

    Each class is centred on its own median, so that what is told is not the two classes. The heaps are those of
    two-means; their distance is between the means in common standard deviations, along the line through both (Ashman,
    Bird & Zepf 1994, "Detecting bimodality in astronomical datasets", Astron J 108, 2348).

    Args:
        measures: of quality and stain, float64 [N, M].
        label: [N].

    Returns:
        The distance, 0 where there are no two heaps; and bool [N].
    """
    values = measures.astype(np.float64).copy()
    for kind in np.unique(label):
        values[label == kind] -= np.median(values[label == kind], axis=0)
    values = np.clip(values / np.maximum(values.std(axis=0), 1e-9), -4, 4)
    scores = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[0]
    best, found = np.inf, (0.0, np.zeros(len(values), dtype=np.bool_))
    for axis in range(min(_STARTS, scores.shape[1])):
        parted = _two_means(values, scores[:, axis] > 0)
        if parted is None:
            continue
        middles = values[parted].mean(axis=0), values[~parted].mean(axis=0)
        within = float(((values[parted] - middles[0]) ** 2).sum() + ((values[~parted] - middles[1]) ** 2).sum())
        if within < best:
            along = values @ (middles[0] - middles[1])
            spread = np.sqrt((along[parted].var() + along[~parted].var()) / 2)
            far = abs(along[parted].mean() - along[~parted].mean()) / max(float(spread), 1e-12)
            best, found = within, (float(far), parted if parted.mean() <= 0.5 else ~parted)
    return found


def _two_means(values: Array, parted: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    for _ in range(_ROUNDS):
        if parted.all() or not parted.any():
            return None
        first, second = values[parted].mean(axis=0), values[~parted].mean(axis=0)
        nearer = ((values - first) ** 2).sum(axis=1) < ((values - second) ** 2).sum(axis=1)
        if np.array_equal(nearer, parted):
            break
        parted = nearer
    return None if parted.all() or not parted.any() else parted


def mixture_warning(measures: Array, label: NDArray[np.int64]) -> str | None:
    """A sentence where the cells look like those of two laboratories; None where not, or where they are too few."""
    if len(label) < FEWEST:
        return None
    far, heap = apart(measures, label)
    if far < APART or heap.mean() < 0.1:
        return None
    blasts = label == 1
    return (
        f"the cells fall into two heaps by stain, light and sharpness ({int(heap.sum())} and {int((~heap).sum())}, "
        f"{far:.1f} standard deviations apart; {heap[blasts].mean():.0%} of the blasts and {heap[~blasts].mean():.0%} "
        "of the normal cells are in the smaller): two laboratories, or two preparations, are mixed; adapt to each alone"
    )
