"""How well things that are no morphology predict the label: what a network could learn instead of the cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Columns of `tiles.MEASURES` that make up each shortcut; `aspect` is derived from the box.
SHORTCUTS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "area": (0,),
        "bounding box": (1, 2),
        "aspect": (9,),
        "mean colour": (3, 4, 5),
        "picture resolution": (6, 7),
        "file size": (8,),
        "all of these": (0, 1, 2, 9, 3, 4, 5, 6, 7, 8),
    }
)
_FOLDS, _RESAMPLES, _SEED = 5, 500, 7


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Area under the ROC curve of a shortcut on patients it was not fitted on.

    Attributes:
        name: see `SHORTCUTS`.
        auc: pooled over five folds of patient groups; 0.5 is chance.
        low, high: 95 % interval over patient groups (percentile bootstrap).
    """

    name: str
    auc: float
    low: float
    high: float


def measure_shortcuts(measures: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[Any]) -> list[Shortcut]:
    """Predict the label from each shortcut by linear discriminant, under five folds of whole patient groups.

    Args:
        measures: float64 [N, 9], see `tiles.MEASURES`; rows with NaN are left out.
        labels: int64 [N], 1 blast, 0 normal, -1 unknown.
        groups: patient groups [N].

    Returns:
        One entry per shortcut; empty where a class has fewer than five groups, as then nothing can be held out.
    """
    used = (labels >= 0) & np.isfinite(measures).all(axis=1)
    y = labels[used]
    names, codes = np.unique(groups[used], return_inverse=True)
    if min((len(np.unique(codes[y == c])) for c in (0, 1)), default=0) < _FOLDS:
        return []
    fold = _deal(codes, y, len(names))
    table = np.log1p(measures[used])
    table = np.column_stack([table, table[:, 1] - table[:, 2]])
    table[:, 9] = np.abs(table[:, 9])
    random = np.random.default_rng(_SEED)
    draws = random.integers(0, len(names), (_RESAMPLES, len(names)))
    results = []
    for name, columns in SHORTCUTS.items():
        score = _held_out(table[:, columns], y, fold)
        spread = []
        for draw in draws:
            weight = np.bincount(draw, minlength=len(names))[codes].astype(np.float64)
            if weight[y == 0].any() and weight[y == 1].any():
                spread.append(weighted_auc(score, y, weight))
        low, high = np.quantile(spread, [0.025, 0.975])
        results.append(Shortcut(name, weighted_auc(score, y, np.ones(len(y))), float(low), float(high)))
    return results


def weighted_auc(score: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64]) -> float:
    """Area under the ROC curve with weights; ties count half.

    >>> weighted_auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]), np.ones(4))
    0.875
    """
    _, place = np.unique(score, return_inverse=True)
    good = np.bincount(place, weight * (y == 1))
    bad = np.bincount(place, weight * (y == 0))
    below = np.cumsum(bad) - bad
    return float(np.sum(good * (below + bad / 2)) / (good.sum() * bad.sum()))


def _deal(codes: NDArray[np.int64], y: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Fold of every picture: groups of each class dealt out by size, the largest first, to the emptiest fold."""
    size = np.bincount(codes, minlength=count)
    share = np.bincount(codes, y, minlength=count) / np.maximum(size, 1)
    of_group = np.zeros(count, np.int64)
    filled = np.zeros((2, _FOLDS))
    for group in np.argsort(-size, kind="stable"):
        row = filled[int(share[group] >= 0.5)]
        of_group[group] = int(row.argmin())
        row[of_group[group]] += size[group]
    return of_group[codes]


def _held_out(x: NDArray[np.float64], y: NDArray[np.int64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score of every picture from a discriminant fitted on the other folds."""
    score = np.zeros(len(y))
    spread = x.std(axis=0)
    # What is the same everywhere would differ by rounding errors only, and these would be learned.
    x = np.where(spread > 1e-9, (x - x.mean(axis=0)) / np.maximum(spread, 1e-9), 0.0)
    for k in range(_FOLDS):
        rest = fold != k
        a, b = x[rest & (y == 1)], x[rest & (y == 0)]
        within = (np.atleast_2d(np.cov(a.T)) * (len(a) - 1) + np.atleast_2d(np.cov(b.T)) * (len(b) - 1)) / rest.sum()
        ridge = 1e-6 * np.eye(x.shape[1])
        way = np.linalg.solve(within + ridge, a.mean(axis=0) - b.mean(axis=0))
        score[~rest] = (x[~rest] - (a.mean(axis=0) + b.mean(axis=0)) / 2) @ way
    return score
