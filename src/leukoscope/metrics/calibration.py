"""Whether a stated probability is the share that comes true: Brier score and calibration error.

The calibration errors are of the probability of blast (not of the more likely class): pictures are put into bins by
that probability, and ``sum over bins of (share of pictures) |mean probability - share of blasts|`` is the expected
calibration error (Naeini, Cooper & Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning").
It is biased upwards: noise within the bins counts as error, and more so in bootstrap replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.metrics.counts import Array, as_weights, ratio

BINS = 15


@dataclass(frozen=True, slots=True)
class Bins:
    """Weighted sums per bin, float64 [..., bins]: pictures, their probabilities, their blasts."""

    weight: Array
    probability: Array
    blasts: Array

    @property
    def mean_probability(self) -> Array:
        """Mean stated probability per bin, NaN where empty."""
        return ratio(self.probability, self.weight)

    @property
    def observed(self) -> Array:
        """Share of blasts per bin, NaN where empty."""
        return ratio(self.blasts, self.weight)


def brier(label: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Mean squared distance of probability and truth, [0, 1], lower is better (Brier 1950)."""
    truth = np.asarray(label, dtype=np.float64)
    loss = (np.asarray(probability, dtype=np.float64) - truth) ** 2
    weight = as_weights(weights, len(truth))
    return ratio(weight @ loss, weight.sum(-1))


def calibration_error(bins: Bins) -> Array:
    """Expected calibration error of ``equal_width`` or ``equal_mass`` bins, [0, 1], lower is better."""
    return ratio(np.abs(bins.probability - bins.blasts).sum(-1), bins.weight.sum(-1))


def equal_width(
    label: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None, *, bins: int = BINS
) -> Bins:
    """Bins of equal width over [0, 1], each open below and closed above; 0 belongs to the first."""
    stated = np.asarray(probability, dtype=np.float64)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], stated)
    member = (place[:, None] == np.arange(bins)).astype(np.float64)
    sums = np.concatenate([member, member * stated[:, None], member * np.asarray(label)[:, None]], axis=1)
    weight, mass, blasts = np.split(as_weights(weights, len(stated)) @ sums, 3, axis=-1)
    return Bins(weight, mass, blasts)


def equal_mass(label: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None, *, bins: int = BINS) -> Bins:
    """Bins of equal weight (adaptive), found anew for each weight vector.

    Equal probabilities share a bin: that in which the middle of their weight falls. A weight of 2 is the same as the
    picture given twice.
    """
    stated = np.asarray(probability, dtype=np.float64)
    order = np.argsort(stated, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(stated[order])) + 1]).astype(np.int64)
    value = stated[order][starts]
    ordered = as_weights(weights, len(stated))[..., order]
    shape = ordered.shape[:-1]
    rows = ordered.reshape(-1, len(stated))
    weight = np.add.reduceat(rows, starts, axis=-1)
    blasts = np.add.reduceat(rows * np.asarray(label, dtype=np.float64)[order], starts, axis=-1)
    upto = np.cumsum(weight, axis=-1)
    middle = np.nan_to_num(ratio((upto - weight / 2) * bins, upto[:, -1:]))
    place = np.minimum(middle.astype(np.int64), bins - 1) + bins * np.arange(len(rows))[:, None]
    return Bins(*(_pooled(place, part, bins, shape) for part in (weight, weight * value, blasts)))


def _pooled(place: NDArray[np.int64], values: Array, bins: int, shape: tuple[int, ...]) -> Array:
    total = np.zeros(bins * len(values))
    np.add.at(total, place.ravel(), values.ravel())
    return total.reshape(*shape, bins)
