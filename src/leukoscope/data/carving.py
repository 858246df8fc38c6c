"""Choosing whole patient groups so that they hold a wanted share of the pictures of each class."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError

_TOLERANCE: Final = 0.01  # subsets this near to the best share count as equally near
_WORK: Final = 1_000_000  # group visits in one search
_CLASSES: Final = ("normal", "blast")


def carve_groups(labels: NDArray[np.int64], groups: NDArray[Any], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups that hold about ``fraction`` of the pictures of each class.

    Group sizes of patients are very uneven (one group of C-NMC 2019 holds a tenth of all pictures), so that groups
    drawn at random miss the share widely. Many random orders are walked through instead; each takes a group whenever
    that brings the shares nearer. Among the subsets that come within 0.01 of the nearest, the one whose share of the
    groups of each class is nearest to ``fraction`` too is taken, so that neither side is made of one huge patient.

    Args:
        labels: int64 [N], 0 or 1.
        groups: strings [N].
        fraction: wanted share, between 0 and 1.
        seed: of the random orders; the result does not depend on the order of the pictures.

    Returns:
        bool [N], True for the pictures of the chosen groups; both classes are on both sides.

    Raises:
        DataError: the fraction is not between 0 and 1, or a class stands in too few groups.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation share {fraction} is not between 0 and 1")
    names, member = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), 2), dtype=np.int64)  # pictures of each class by group
    np.add.at(counts, (member, labels), 1)
    holds = (counts > 0).sum(axis=0)
    for label, word in enumerate(_CLASSES):
        if holds[label] < 2:
            raise DataError(
                f"the class {word} stands in {holds[label]} patient groups of the training part, too few to set one "
                "aside for validation",
                remedy="add pictures of more patients, or give fewer folds",
            )
    rng = np.random.default_rng(seed)
    restarts = int(np.clip(_WORK // len(names), 32, 4096))
    orders = rng.permuted(np.tile(np.arange(len(names)), (restarts, 1)), axis=1)
    taken = np.zeros((restarts, len(names)), dtype=np.bool_)
    held = np.zeros((restarts, 2), dtype=np.int64)
    totals = counts.sum(axis=0)
    cost = _miss(held, totals, fraction)
    rows = np.arange(restarts)
    for step in orders.T:  # every restart visits its own next group
        trial = held + counts[step]
        better = (trial_cost := _miss(trial, totals, fraction)) < cost
        held[better], cost[better] = trial[better], trial_cost[better]
        taken[rows[better], step[better]] = True
    if cost.min() >= 1:
        raise DataError(
            "no whole patient groups can be set aside for validation so that both classes stand on both sides",
            remedy="add pictures of more patients",
        )
    shares = taken.astype(np.int64) @ (counts > 0) / holds
    spread = np.abs(shares - fraction).sum(axis=1)
    near = np.flatnonzero(cost <= cost.min() + _TOLERANCE)
    chosen: NDArray[np.bool_] = taken[near[np.lexsort((cost[near], spread[near]))[0]]][member]
    return chosen


def _miss(held: NDArray[np.int64], totals: NDArray[np.int64], fraction: float) -> NDArray[np.float64]:
    """How far the shares of the classes are from the wanted one, [R]; 1 more for each class that one side lacks."""
    lacking = (held == 0) | (held == totals)
    miss: NDArray[np.float64] = (np.abs(held / totals - fraction) + lacking).sum(axis=1)
    return miss
