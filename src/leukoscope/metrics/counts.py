"""What all metrics share: picture weights, and quotients that are NaN where they are undefined.

Figures of decisions: everything that follows from the four counts of a confusion matrix.

Blast is the positive class. Each function takes a ``Confusion`` whose counts have any shape [...] and returns float64
of that shape: 0-d for one table, [B] for B bootstrap replicates.

A figure that is undefined is NaN, never a made-up number: recall of a class without pictures, precision of a class
that was never called, and everything that averages over both classes when one of them is absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def as_weights(weights: ArrayLike | None, pictures: int) -> Array:
    """Weights as float64 [..., N]; ones [N] for None.

    A weight is how often a picture counts, so a bootstrap replicate is a weight vector and many replicates are a
    matrix [B, N], for which every metric of this room returns [B] values in one go.

    Raises:
        ValueError: the last axis is not N long, or a weight is negative or not finite.
    """
    if weights is None:
        return np.ones(pictures)
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != pictures:
        raise ValueError(f"weights of shape {array.shape} do not fit {pictures} pictures")
    if array.size and not (array.min() >= 0 and np.isfinite(array.max())):
        raise ValueError("weights must be finite and not negative")
    return array


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """``numerator / denominator``, NaN where the denominator is 0.

    >>> ratio([1.0, 1.0], [2.0, 0.0]).tolist()
    [0.5, nan]
    """
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    quotient = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom != 0)
    return quotient


@dataclass(frozen=True, slots=True)
class Confusion:
    """Weighted counts, float64 [...]: true normal, false blast, false normal (missed blast), true blast."""

    tn: Array
    fp: Array
    fn: Array
    tp: Array

    @property
    def swapped(self) -> Confusion:
        """The same table with normal as the positive class."""
        return Confusion(tn=self.tp, fp=self.fn, fn=self.fp, tp=self.tn)


def confusion(label: ArrayLike, called: ArrayLike, weights: ArrayLike | None = None) -> Confusion:
    """Count decisions.

    Args:
        label: 0 normal or 1 blast, [N].
        called: 0 or 1, or bool, [N]: the decision.
        weights: not negative, [N] or [B, N]; None counts each picture once.

    >>> table = confusion([0, 0, 1, 1], [0, 1, 1, 1])
    >>> float(table.fp), float(table.tp)
    (1.0, 2.0)
    """
    truth = np.asarray(label).astype(np.int64)
    decision = np.asarray(called).astype(np.int64)
    cells = (2 * truth + decision)[:, None] == np.arange(4)
    counts = as_weights(weights, len(truth)) @ cells.astype(np.float64)
    tn, fp, fn, tp = np.moveaxis(counts, -1, 0)
    return Confusion(np.asarray(tn), np.asarray(fp), np.asarray(fn), np.asarray(tp))


def accuracy(table: Confusion) -> Array:
    """Share of pictures decided rightly, [0, 1]."""
    return ratio(table.tn + table.tp, table.tn + table.fp + table.fn + table.tp)


def sensitivity(table: Confusion) -> Array:
    """Share of blasts called blast (recall of blast), [0, 1]; NaN without blasts."""
    return ratio(table.tp, table.tp + table.fn)


def specificity(table: Confusion) -> Array:
    """Share of normal cells called normal (recall of normal), [0, 1]; NaN without normal cells."""
    return sensitivity(table.swapped)


def precision(table: Confusion) -> Array:
    """Share of the cells called blast that are blasts, [0, 1]; NaN if none was called."""
    return ratio(table.tp, table.tp + table.fp)


def f1(table: Confusion) -> Array:
    """F1 of blast, ``2 tp / (2 tp + fp + fn)``, [0, 1]; NaN without blasts, where recall is undefined."""
    return np.where(table.tp + table.fn > 0, ratio(2 * table.tp, 2 * table.tp + table.fp + table.fn), np.nan)


def balanced_accuracy(table: Confusion) -> Array:
    """Mean of sensitivity and specificity, [0, 1]; 0.5 for a coin whatever the class shares."""
    return (sensitivity(table) + specificity(table)) / 2


def f1_macro(table: Confusion) -> Array:
    """Plain mean of the F1 of both classes, [0, 1]."""
    return (f1(table) + f1(table.swapped)) / 2


def f1_weighted(table: Confusion) -> Array:
    """Mean of the F1 of both classes weighted by their numbers of pictures (the C-NMC challenge figure), [0, 1]."""
    blasts, normals = table.tp + table.fn, table.tn + table.fp
    return ratio(blasts * f1(table) + normals * f1(table.swapped), blasts + normals)


def matthews(table: Confusion) -> Array:
    """Matthews correlation of truth and decision, [-1, 1] (Matthews 1975); NaN if either never varies."""
    margins = [
        np.sqrt(margin)
        for margin in (table.tp + table.fn, table.tn + table.fp, table.tp + table.fp, table.tn + table.fn)
    ]
    return ratio(table.tp * table.tn - table.fp * table.fn, margins[0] * margins[1] * margins[2] * margins[3])
