"""A head fitted to few cells: logistic regression pulled towards the head that is there.

The logit is ``z0 + x . d + c``, z0 the old logit and x the embedding. Minimised is the mean log loss plus
``strength / 2 |s d|^2`` with s the root mean square deviation of the embedding: a Gaussian prior around the old weights
(C. Chelba, A. Acero: Adaptation of maximum entropy capitalizer, EMNLP 2004). Infinite strength moves the bias alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import sigmoid
from leukoscope.fitting.decision import log_loss
from leukoscope.fitting.folds import clearly_lower
from leukoscope.metrics.counts import Array


@dataclass(frozen=True, slots=True)
class Pull:
    """How much of the old head is kept, and how hard the new one is pulled towards that.

    Attributes:
        trust: factor of the old logit; 0 fits a head that knows nothing of the old one.
        strength: above 0; infinite: the bias alone is fitted.
    """

    trust: float
    strength: float

    def words(self) -> str:
        """As a sentence says it."""
        if not math.isfinite(self.strength):
            return "only its bias moved"
        towards = "the old one" if self.trust else "none: nothing of the old one is left"
        return f"pulled towards {towards}, strength {self.strength:g}"


#: From the most of the old head to the least.
PULLS: Final = (
    *(Pull(1.0, strength) for strength in (math.inf, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)),
    *(Pull(0.0, strength) for strength in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)),
)

BIAS_ALONE: Final = PULLS[:1]  # the head stays, but for its bias


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
    return refits(old, embedding, label, (Pull(1.0, strength),))[0]


def refits(old: Array, embedding: Array, label: NDArray[np.int64], pulls: Sequence[Pull] = PULLS) -> list[Change]:
    """As `refit`, a change for each pull; each is found from the one before it.

    The change goes with ``trust`` times the old logit.
    """
    middle = embedding.mean(axis=0)
    left, size, basis = np.linalg.svd(embedding - middle, full_matrices=False)
    kept = size > 1e-9 * max(float(size[0]), 1e-300)
    basis = basis[kept]
    columns = np.column_stack([left[:, kept] * size[kept], np.ones(len(old))])
    spread, y = float(((embedding - middle) ** 2).mean()), label.astype(np.float64)
    found: list[Change] = []
    for each in pulls:
        weight = np.zeros(len(basis) + 1)
        if math.isfinite(each.strength):
            pull = np.append(np.full(len(basis), each.strength * spread), 0.0)
            weight = _newton(each.trust * old, columns, y, pull)
        else:
            weight[-1:] = _newton(each.trust * old, columns[:, -1:], y, np.zeros(1))
        along = weight[:-1] @ basis
        found.append(Change(along, float(weight[-1] - middle @ along)))
    return found


def choose_pull(
    seen: Callable[[NDArray[np.bool_]], tuple[Array, Array]],
    label: NDArray[np.int64],
    part: NDArray[np.int64],
    pulls: Sequence[Pull] = PULLS,
) -> tuple[Pull, Array, Array]:
    """The strongest pull that no weaker one beats clearly on cells left out, and the logits of those cells.

    A weaker pull takes the place of a stronger one if its log loss on left-out parts is lower by more than one standard
    error of the difference over parts (Breiman, Friedman, Olshen & Stone 1984).

    Args:
        seen: old logits [N] and embeddings [N, E] of all cells, by what is known without those that are not flagged.
        label: 1 blast, 0 normal, [N].
        part: cells of one part are left out together, [N]; what is left must hold both classes.
        pulls: tried from the strongest to the weakest.

    Returns:
        The pull, logits [N] of each cell by the head fitted with it without the cell's part, and its loss by part.
    """
    _, unit = np.unique(part, return_inverse=True)
    logits = np.empty((len(pulls), len(label)))
    for left in range(int(unit.max()) + 1):
        rest = unit != left
        old, embedding = seen(rest)
        for row, (pull, change) in enumerate(
            zip(pulls, refits(old[rest], embedding[rest], label[rest], pulls), strict=True)
        ):
            logits[row, ~rest] = change.logits(pull.trust * old[~rest], embedding[~rest])
    loss = [loss_by_part(label, each, unit) for each in logits]
    chosen = 0
    for row in range(1, len(pulls)):
        if clearly_lower(loss[row], loss[chosen]):
            chosen = row
    return pulls[chosen], logits[chosen], loss[chosen]


def loss_by_part(label: NDArray[np.int64], logits: Array, unit: NDArray[np.int64]) -> Array:
    """Summed log loss of each part, float64 [P]."""
    return np.bincount(unit, weights=log_loss(label, sigmoid(logits))).astype(np.float64)


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
