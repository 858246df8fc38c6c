"""Figures of the order in which a score puts the pictures, at every threshold at once: ROC and precision-recall.

Each function is NaN where a class is absent. Ties in the score are one threshold, so an area counts a tied pair half
(Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating characteristic curve").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.metrics.counts import Array, as_weights, ratio

_SLACK = 1e-12  # a rate may miss its limit by the rounding of one division


@dataclass(frozen=True, slots=True)
class Sweep:
    """Weighted counts of what is called blast as the threshold falls, float64 [..., T + 1], from none to all."""

    tp: Array
    fp: Array

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Whether both classes have weight, [...]."""
        return (self.tp[..., -1] > 0) & (self.fp[..., -1] > 0)

    @property
    def sensitivity(self) -> Array:
        """True positive rate, [..., T + 1], rising from 0 to 1."""
        return ratio(self.tp, self.tp[..., -1:])

    @property
    def false_positive_rate(self) -> Array:
        """1 - specificity, [..., T + 1], rising from 0 to 1."""
        return ratio(self.fp, self.fp[..., -1:])

    @property
    def precision(self) -> Array:
        """Precision of blast, [..., T + 1]; NaN where nothing is called."""
        return ratio(self.tp, self.tp + self.fp)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Pictures sorted once by falling score; every weight vector is then a cumulative sum.

    ``thresholds`` float64 [T + 1]: infinity (nothing is called), then each distinct score; called where score >= it.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    blast: Array
    thresholds: Array

    @classmethod
    def of(cls, label: ArrayLike, score: ArrayLike) -> Self:
        """Sort N pictures, ``label`` 0 or 1 [N], by ``score`` float [N], higher more blast-like.

        Raises:
            ValueError: a score is NaN, which has no rank.
        """
        values = np.asarray(score, dtype=np.float64)
        if np.isnan(values).any():
            raise ValueError("a score is NaN")
        order = np.argsort(-values, kind="stable")
        ranked = values[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1).astype(np.int64)
        blast = np.asarray(label, dtype=np.float64)[order]
        return cls(order, ends, blast, np.concatenate([[np.inf], ranked[ends]]))

    def sweep(self, weights: ArrayLike | None = None) -> Sweep:
        """Counts at each threshold for weights [N] or [B, N]."""
        ordered = as_weights(weights, len(self.order))[..., self.order]
        positive = ordered * self.blast
        return Sweep(_cumulated(positive, self.ends), _cumulated(ordered - positive, self.ends))


def _cumulated(values: Array, ends: NDArray[np.int64]) -> Array:
    totals = np.cumsum(values, axis=-1)[..., ends]
    return np.concatenate([np.zeros((*totals.shape[:-1], 1)), totals], axis=-1)


def roc_auc(sweep: Sweep) -> Array:
    """Area under the ROC curve, [0, 1]: the chance that a blast ranks above a normal cell, ties half."""
    area = (np.diff(sweep.fp) * (sweep.tp[..., 1:] + sweep.tp[..., :-1])).sum(-1) / 2
    return ratio(area, sweep.tp[..., -1] * sweep.fp[..., -1])


def average_precision(sweep: Sweep) -> Array:
    """Area under the precision-recall curve as a step function, [0, 1]: sum of precision times gain of recall."""
    precision = np.nan_to_num(sweep.precision[..., 1:])  # nothing called yet: no gain of recall either
    total = ratio((np.diff(sweep.tp) * precision).sum(-1), sweep.tp[..., -1])
    return np.where(sweep.defined, total, np.nan)


def sensitivity_at(sweep: Sweep, specificity: float = 0.95) -> Array:
    """Highest sensitivity of any threshold whose specificity is at least ``specificity``; nothing is interpolated."""
    allowed = sweep.false_positive_rate <= 1 - specificity + _SLACK
    return np.where(sweep.defined, np.where(allowed, sweep.sensitivity, 0.0).max(-1), np.nan)


def specificity_at(sweep: Sweep, sensitivity: float = 0.95) -> Array:
    """Highest specificity of any threshold whose sensitivity is at least ``sensitivity``."""
    allowed = sweep.sensitivity >= sensitivity - _SLACK
    return np.where(sweep.defined, np.where(allowed, 1 - sweep.false_positive_rate, 0.0).max(-1), np.nan)


def roc_on(sweep: Sweep, grid: Array) -> Array:
    """Highest sensitivity at a false positive rate of at most each of ``grid`` [M], [..., M]: the stepped ROC curve."""
    return _steps(sweep.false_positive_rate, sweep.sensitivity, grid + _SLACK, side="right", shift=-1)


def precision_on(sweep: Sweep, grid: Array) -> Array:
    """Precision at the highest threshold whose recall is at least each of ``grid`` [M] in (0, 1], [..., M]."""
    return _steps(sweep.sensitivity, sweep.precision, grid - _SLACK, side="left", shift=0)


def _steps(x: Array, y: Array, grid: Array, *, side: Literal["left", "right"], shift: int) -> Array:
    rows_x, rows_y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    out = np.empty((len(rows_x), len(grid)))
    for row, (keys, values) in enumerate(zip(rows_x, rows_y, strict=True)):
        place = np.searchsorted(keys, grid, side=side) + shift
        out[row] = values[np.clip(place, 0, len(values) - 1)]
    return out.reshape(*x.shape[:-1], len(grid))
