"""A head fitted to few cells: logistic regression pulled towards the head that is there.

The logit is ``z0 + x . d + c``, z0 the old logit and x the embedding. Minimised is the mean log loss plus
``strength / 2 |s d|^2`` with s the root mean square deviation of the embedding: a Gaussian prior around the old weights
(C. Chelba, A. Acero: Adaptation of maximum entropy capitalizer, EMNLP 2004). Infinite strength moves the bias alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import sigmoid
from leukoscope.evaluation.fitting import log_loss
from leukoscope.evaluation.weighting import Array

STRENGTHS = (math.inf, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What is added to a head: to its weights, float64 [E], and to its bias."""

    weight: Array
    bias: float

    def logits(self, old: Array, embedding: Array) -> Array:
        """New logits [N] of cells with old logits [N] and embeddings [N, E]."""
        return np.asarray(old + embedding @ self.weight + self.bias, dtype=np.float64)


def refit(old: Array, embedding: Array, label: NDArray[np.int64], strength: float) -> Change:
    """Fit by Newton's method, in the space that the centred embeddings span.

    Args:
        old: logits of the present head, float64 [N].
        embedding: float64 [N, E].
        label: 1 blast, 0 normal, [N], both present.
        strength: of the pull, above 0; infinite: the bias alone is fitted.
    """
    middle = embedding.mean(axis=0)
    columns = np.ones((len(old), 1))
    basis = np.zeros((0, embedding.shape[1]))
    if math.isfinite(strength):
        left, size, basis = np.linalg.svd(embedding - middle, full_matrices=False)
        kept = size > 1e-9 * max(float(size[0]), 1e-300)
        basis = basis[kept]
        columns = np.column_stack([left[:, kept] * size[kept], columns])
    spread = float(((embedding - middle) ** 2).mean())
    pull = np.append(np.full(len(basis), strength * spread if math.isfinite(strength) else 0.0), 0.0)
    found = _newton(old, columns, label.astype(np.float64), pull)
    weight = found[:-1] @ basis
    return Change(weight, float(found[-1] - middle @ weight))


def choose_strength(
    old: Array,
    embedding: Array,
    label: NDArray[np.int64],
    part: NDArray[np.int64],
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, Array]:
    """The strongest pull that no weaker one beats clearly on cells left out, and the logits of those cells.

    A weaker pull takes the place of a stronger one if its log loss on left-out parts is lower by more than one standard
    error of the difference over parts (Breiman, Friedman, Olshen & Stone 1984).

    Args:
        old: logits of the present head, float64 [N].
        embedding: float64 [N, E].
        label: 1 blast, 0 normal, [N].
        part: cells of one part are left out together, [N]; what is left must hold both classes.
        strengths: tried from the strongest to the weakest.

    Returns:
        The strength, and logits [N] of each cell by the head fitted with it without the cell's part.
    """
    _, unit = np.unique(part, return_inverse=True)

    def crossed(strength: float) -> tuple[Array, Array]:
        logits = _crossed(old, embedding, label, unit, strength)
        loss: Array = np.bincount(unit, weights=log_loss(label, sigmoid(logits))).astype(np.float64)
        return logits, loss

    chosen = strengths[0]
    held, least = crossed(chosen)
    for strength in strengths[1:]:
        logits, loss = crossed(strength)
        if clearly_lower(loss, least):
            chosen, held, least = strength, logits, loss
    return chosen, held


def clearly_lower(first: Array, second: Array) -> bool:
    """Whether a loss by part [P] is lower than another by more than one standard error of the difference."""
    gain = second - first
    return bool(gain.sum() > np.sqrt(len(gain) * gain.var(ddof=1))) if len(gain) > 1 else False


def _crossed(old: Array, embedding: Array, label: NDArray[np.int64], unit: NDArray[np.intp], strength: float) -> Array:
    logits = np.empty(len(old))
    for left in range(int(unit.max()) + 1):
        out = unit == left
        change = refit(old[~out], embedding[~out], label[~out], strength)
        logits[out] = change.logits(old[out], embedding[out])
    return logits


def _newton(offset: Array, columns: Array, y: Array, pull: Array) -> Array:
    """Minimum of the mean log loss of ``offset + columns b`` plus ``pull/2 . b^2``, with the step halved if need be."""
    found, n = np.zeros(columns.shape[1]), len(y)

    def value(b: Array) -> float:
        z = offset + columns @ b
        return float(np.logaddexp(0, z).mean() - (y * z).mean() + pull @ b**2 / 2)

    best = value(found)
    for _ in range(100):
        stated = sigmoid(offset + columns @ found)
        gradient = columns.T @ (stated - y) / n + pull * found
        curve = columns.T @ (columns * (stated * (1 - stated))[:, None]) / n + np.diag(pull + 1e-10)
        step = np.linalg.solve(curve, gradient)
        share = 1.0
        while (now := value(found - share * step)) > best and share > 1e-8:
            share /= 2
        if now > best:
            break
        found, gain, best = found - share * step, best - now, now
        if gain < 1e-12:
            break
    return found
