"""Parts that are left out in turn: whole patient groups, each class on its own, or cells where patients are unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.counts import Array

PARTS = 10


def deal_groups(blasts: NDArray[np.bool_], rng: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Part of each patient group, int64 [G], dealt out class by class: no part holds all groups of a class with two.

    Args:
        blasts: bool [G], whether a group holds blasts.
        rng: shuffles the groups of each class first; None: they are dealt in their order.
    """
    kinds = [np.flatnonzero(kind) for kind in (blasts, ~blasts)]
    order = np.concatenate(kinds if rng is None else [rng.permutation(kind) for kind in kinds])
    part = np.empty(len(blasts), dtype=np.int64)
    part[order] = np.arange(len(blasts)) % min(len(blasts), PARTS)
    return part


def deal_cells(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Part of each cell, int64 [N], class by class in the order given, whoever they are of."""
    part = np.empty(len(label), dtype=np.int64)
    for kind in (0, 1):
        rows = np.flatnonzero(label == kind)
        part[rows] = np.arange(len(rows)) % PARTS
    return part


def even_folds(group: NDArray[np.str_], folds: int = 5) -> NDArray[np.int64]:
    """Fold of each cell, int64 [N]: whole groups, the largest dealt out first, each to the emptiest fold."""
    _, unit, size = np.unique(group, return_inverse=True, return_counts=True)
    fold = np.empty(len(size), dtype=np.int64)
    filled = np.zeros(min(folds, len(size)))
    for each in np.argsort(-size, kind="stable"):
        fold[each] = int(filled.argmin())
        filled[fold[each]] += size[each]
    return fold[unit]


def clearly_lower(first: Array, second: Array) -> bool:
    """Whether a loss by part [P] is lower than another by more than one standard error of the difference over parts.

    L. Breiman, J. Friedman, R. Olshen, C. Stone: Classification and regression trees, 1984.
    """
    gain = second - first
    return bool(gain.sum() > np.sqrt(len(gain) * gain.var(ddof=1))) if len(gain) > 1 else False
