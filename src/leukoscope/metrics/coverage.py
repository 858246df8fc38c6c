"""What refusing to decide is worth: risk against coverage, its area, and what a band of referred cells does.

Coverage is the share of pictures that are decided; risk is the share of these that are decided wrongly (R. El-Yaniv, Y.
Wiener: On the foundations of noise-free selective classification, JMLR 2010). The area under the curve, when the least
sure pictures are refused first, is the mean risk over all coverages (Y. Geifman, G. Uziel, R. El-Yaniv:
Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.metrics.counts import Array, as_weights, ratio

MISSED_LEVEL = 0.01
_SLACK = 1e-12


def sureness(probability: ArrayLike, threshold: float) -> Array:
    """How far a probability lies from the threshold, on either side as a share of the way to 0 or 1; [N] in [0, 1]."""
    stated = np.asarray(probability, dtype=np.float64)
    return np.where(stated >= threshold, ratio(stated - threshold, 1 - threshold), ratio(threshold - stated, threshold))


@dataclass(frozen=True, slots=True)
class Selection:
    """Pictures sorted once by falling sureness; equal ones are decided together. Weights are [N] or [B, N]."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    wrong: Array  # in that order

    @classmethod
    def of(cls, label: ArrayLike, probability: ArrayLike, threshold: float) -> Self:
        """Sort; blast is called where probability >= threshold."""
        stated = np.asarray(probability, dtype=np.float64)
        sure = np.nan_to_num(sureness(stated, threshold), nan=1.0)
        order = np.argsort(-sure, kind="stable")
        ranked = sure[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1).astype(np.int64)
        wrong = (stated >= threshold) != (np.asarray(label) == 1)
        return cls(order, ends, wrong[order].astype(np.float64))

    def curve(self, weights: ArrayLike | None = None) -> tuple[Array, Array]:
        """Coverage and risk [..., T], from the surest pictures to all; risk is NaN where nothing is decided yet."""
        decided, failed = self._sums(weights)
        return ratio(decided, decided[..., -1:]), ratio(failed, decided)

    def area(self, weights: ArrayLike | None = None) -> Array:
        """Mean over pictures of the risk among all pictures at least as sure (AURC), [0, 1], lower is better."""
        decided, failed = self._sums(weights)
        gained = np.diff(decided, prepend=0.0, axis=-1)
        return ratio((gained * np.nan_to_num(ratio(failed, decided))).sum(-1), decided[..., -1])

    def risk_on(self, grid: Array, weights: ArrayLike | None = None) -> Array:
        """Risk at the lowest coverage that is at least each of ``grid`` [M] in (0, 1], [..., M]."""
        return steps_up(*self.curve(weights), grid)

    def _sums(self, weights: ArrayLike | None) -> tuple[Array, Array]:
        ordered = as_weights(weights, len(self.order))[..., self.order]
        sums = (np.cumsum(each, axis=-1)[..., self.ends] for each in (ordered, ordered * self.wrong))
        decided, failed = sums
        return decided, failed


@dataclass(frozen=True, slots=True)
class Descent:
    """Bands that end at the threshold, from one that decides no picture below it to none at all.

    Sorts the pictures below the threshold by rising probability: a band that starts above k of them calls these normal.
    """

    order: NDArray[np.int64]  # of the pictures below the threshold
    ends: NDArray[np.int64]
    label: Array  # [N], all pictures
    called: Array  # [N], 1 where blast is called

    @classmethod
    def of(cls, label: ArrayLike, probability: ArrayLike, threshold: float) -> Self:
        """Sort; blast is called where probability >= threshold."""
        stated = np.asarray(probability, dtype=np.float64)
        below = np.flatnonzero(stated < threshold)
        order = below[np.argsort(stated[below], kind="stable")]
        ends = np.append(np.flatnonzero(np.diff(stated[order])), len(order) - 1)[: len(order)].astype(np.int64)
        called = (stated >= threshold).astype(np.float64)
        return cls(order, ends, np.asarray(label, dtype=np.float64), called)

    def curve(self, weights: ArrayLike | None = None) -> tuple[Array, Array]:
        """Coverage and share of blasts called normal [..., T + 1], both rising; the share is NaN without blasts."""
        each = as_weights(weights, len(self.label))
        below = each[..., self.order]
        start = np.zeros((*each.shape[:-1], 1))
        sums = [
            np.concatenate([start, np.cumsum(part, axis=-1)[..., self.ends]], axis=-1)
            for part in (below, below * self.label[self.order])
        ]
        decided = sums[0] + (each @ self.called)[..., None]
        return ratio(decided, each.sum(-1)[..., None]), ratio(sums[1], (each @ self.label)[..., None])

    def coverage_at(self, level: float = MISSED_LEVEL, weights: ArrayLike | None = None) -> Array:
        """Largest coverage of a band that calls at most ``level`` of blasts normal, [...]; NaN without blasts."""
        coverage, missed = self.curve(weights)
        most = np.where(missed <= level + _SLACK, coverage, 0.0).max(-1)
        return np.where(np.isnan(missed[..., -1]), np.nan, most)

    def missed_on(self, grid: Array, weights: ArrayLike | None = None) -> Array:
        """Share of blasts called normal at the lowest coverage that is at least each of ``grid`` [M], [..., M]."""
        return steps_up(*self.curve(weights), grid)


def band_figures(
    label: ArrayLike, probability: ArrayLike, low: float, threshold: float, weights: ArrayLike | None = None
) -> Array:
    """Figures of ``glossary.BAND_KEYS``, [..., 6]: normal below ``low``, blast from ``threshold``, else refer."""
    truth = np.asarray(label) == 1
    stated = np.asarray(probability, dtype=np.float64)
    blast, normal = stated >= threshold, (stated < low) & (stated < threshold)
    each = as_weights(weights, len(stated))

    def weight(which: NDArray[np.bool_]) -> Array:
        return np.asarray(each @ which.astype(np.float64))

    decided, missed, false = weight(blast | normal), weight(normal & truth), weight(blast & ~truth)
    return np.stack(
        [
            ratio(decided, each.sum(-1)),
            ratio(missed, weight(truth)),
            ratio(missed, weight((blast | normal) & truth)),
            ratio(false, weight(~truth)),
            ratio(missed + false, decided),
            ratio(weight(normal & ~truth), weight(~truth)),
        ],
        axis=-1,
    )


def steps_up(x: Array, y: Array, grid: Array) -> Array:
    """``y`` where rising ``x`` first reaches each of ``grid`` [M], row by row; the last where it never does."""
    rows_x, rows_y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    out = np.empty((len(rows_x), len(grid)))
    for row, (keys, values) in enumerate(zip(rows_x, rows_y, strict=True)):
        place = np.searchsorted(keys, grid - _SLACK, side="left")
        out[row] = values[np.minimum(place, len(values) - 1)]
    return out.reshape(*x.shape[:-1], len(grid))
