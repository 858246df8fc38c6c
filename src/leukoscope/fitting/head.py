"""Fitting the end of a bundle to the cells of one laboratory, and measuring it on cells left out of the fit.

A head fitted to few cells: logistic regression pulled towards the head that is there.

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

from leukoscope.bundle.decision import probability_of, sigmoid
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.datasets.patients import Patients
from leukoscope.errors import DataError
from leukoscope.fitting.decision import calibrate, log_loss
from leukoscope.fitting.folds import clearly_lower, deal_cells, deal_groups
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores

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


FEWEST_CELLS = 20
FEWEST_OF_CLASS = 5
FEWEST_GROUPS = 2  # of each class: one is left out, the other fitted on
FIGURES = ("auc", "log_loss", "brier", "sensitivity", "specificity")
_LOWER_IS_BETTER = frozenset({"log_loss", "brier"})


@dataclass(frozen=True, slots=True, eq=False)
class LocalCells:
    """Labelled cells of a laboratory with what the bundle says of them.

    ``scores`` as for an evaluation, ``embedding`` float64 [N, E].
    """

    scores: Scores
    embedding: Array

    @property
    def by_patient(self) -> bool:
        """Whether the patient of every cell is known."""
        return Patients.of(self.scores.group).all_known

    def take(self, which: NDArray[np.bool_]) -> LocalCells:
        """Some of the cells."""
        return LocalCells(self.scores.take(which), self.embedding[which])


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """A head, the rule that goes with it, and what both gained on cells left out of their fit.

    ``units`` are the names of what was left out one by one; ``better``: the log loss fell by more than one standard
    error over them, and below that of one who states the share of blasts for every cell.
    """

    change: Change
    strength: float
    rule: DecisionFacts
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    gain: dict[str, Estimate]
    units: list[str]
    better: bool


def check_cells(cells: LocalCells) -> None:
    """Refuse cells on which nothing can be fitted and measured.

    Raises:
        DataError: fewer than 20 cells, fewer than 5 of a class, or, where patients are known, fewer than two patients
            of a class.
    """
    label, group = cells.scores.label, cells.scores.group
    if len(label) < FEWEST_CELLS:
        raise DataError(f"{len(label)} cells are too few to adapt to", remedy=f"label {FEWEST_CELLS} or more")
    for each, word in ((1, "blasts"), (0, "normal cells")):
        count = int((label == each).sum())
        if count < FEWEST_OF_CLASS:
            raise DataError(f"the cells are one-sided: {count} {word}", remedy=f"label {FEWEST_OF_CLASS} or more each")
        groups = len(np.unique(group[label == each]))
        if cells.by_patient and groups < FEWEST_GROUPS:
            raise DataError(
                f"all {count} {word} come from one patient, so that nothing can be measured on another",
                remedy="add cells of other patients",
            )


def adapt(
    cells: LocalCells, rule: DecisionFacts, *, data: str, seed: int = 0, replicates: int = REPLICATES
) -> Adaptation:
    """Fit head, probabilities and band to local cells, and measure all of it on cells left out.

    What is measured is the whole procedure: for each part left out, strength, head and probabilities are chosen and
    fitted on the other parts alone, by leaving out parts of those in turn. Parts are patients where known, dealt into
    ten class by class where there are more; else ten random parts of the cells, which tell nothing of new patients.

    Args:
        cells: of the laboratory.
        rule: of the bundle, used for `before`; its threshold is kept as a probability.
        data: name of the cells, for the record.
        seed: of the parts and of the bootstrap.
        replicates: of the bootstrap over patients, or over cells where no patient is known.

    Raises:
        DataError: see ``check_cells``.
    """
    check_cells(cells)
    part = deal(cells, seed)
    plain = DecisionFacts(threshold=rule.threshold)
    stated, called = np.empty(len(part)), np.empty(len(part), dtype=np.bool_)
    for left in np.unique(part):
        out = part == left
        change, _, crossed = _fit(cells.take(~out), part[~out])
        fitted = _rule(crossed, plain, data)
        stated[out] = probability_of(change.logits(cells.scores.logit[out], cells.embedding[out]), fitted)
        called[out] = stated[out] >= fitted.threshold
    change, strength, crossed = _fit(cells, part)
    label = cells.scores.label
    first = probability_of(cells.scores.logit, rule)
    plan = Resampling.by_group(label, cells.scores.group, replicates=replicates, seed=seed)

    def earlier(weights: Array) -> Array:
        return _figures(label, first, first >= rule.threshold, weights)

    def later(weights: Array) -> Array:
        return _figures(label, stated, called, weights)

    def gained(weights: Array) -> Array:
        sign = np.array([-1.0 if key in _LOWER_IS_BETTER else 1.0 for key in FIGURES])
        return np.asarray(sign * (later(weights) - earlier(weights)))

    before, after, gain = (measure(figures, FIGURES, plan) for figures in (earlier, later, gained))
    lost, kept = (np.bincount(part, weights=log_loss(label, each)).astype(np.float64) for each in (first, stated))
    units = np.unique(cells.scores.group).tolist() if cells.by_patient else [f"part {k}" for k in np.unique(part)]
    guess = float(log_loss(label, np.full(len(label), label.mean())).mean())  # of who knows but the mix of classes
    better = clearly_lower(kept, lost) and after["log_loss"].value < guess
    fitted = _rule(crossed, plain, data)
    return Adaptation(change, strength, fitted, before, after, gain, units, better)


def deal(cells: LocalCells, seed: int = 0) -> NDArray[np.int64]:
    """Part of each cell, int64 [N]: its patient, or one of ten parts; each class is dealt out on its own."""
    rng = np.random.default_rng(seed)
    _, unit = np.unique(cells.scores.group, return_inverse=True)
    blast = np.bincount(unit, weights=cells.scores.label) > 0
    part = deal_groups(blast, rng)
    _, dense = np.unique(part, return_inverse=True)
    return dense[unit].astype(np.int64)


def _fit(cells: LocalCells, part: NDArray[np.int64]) -> tuple[Change, float, Scores]:
    """Head, its strength, and the logits of each cell by a head fitted without it, to calibrate on."""
    scores, embedding = cells.scores, cells.embedding
    if any(len(np.unique(scores.label[part != left])) < 2 for left in np.unique(part)):
        part = deal_cells(scores.label)  # a class of one patient: what is chosen may suit that patient too well
    strength, crossed = choose_strength(scores.logit, embedding, scores.label, part)
    change = refit(scores.logit, embedding, scores.label, strength)
    table = Scores(scores.path, scores.label, sigmoid(crossed), crossed, scores.subject, scores.group)
    return change, strength, table


def _rule(crossed: Scores, plain: DecisionFacts, data: str) -> DecisionFacts:
    """Probabilities and band fitted on crossed logits; none where these are too few or do not rank the classes."""
    try:
        return calibrate(crossed, plain, data=data, chose_epoch=False)
    except DataError as error:
        return plain.model_copy(update={"no_refer": error.what})


def _figures(label: NDArray[np.int64], stated: Array, called: NDArray[np.bool_], weights: Array) -> Array:
    """``FIGURES`` of stated probabilities and of cells called blast [N], with weights [..., N]: [..., 5]."""
    blast = label == 1
    total = weights.sum(axis=-1)
    return np.stack(
        [
            roc_auc(Ranking.of(label, stated).sweep(weights)),
            ratio(weights @ log_loss(label, stated), total),
            ratio(weights @ (stated - label) ** 2, total),
            ratio(weights @ (called & blast), weights @ blast),
            ratio(weights @ (~called & ~blast), weights @ ~blast),
        ],
        axis=-1,
    )
