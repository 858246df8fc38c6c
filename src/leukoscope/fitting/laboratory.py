"""Fitting the end of a bundle to the cells of one laboratory, and measuring it on cells left out of the fit.

Two steps, each kept only where it pays on parts left out: the features are brought to the moments that they have in the
training cells, for which cells without a label serve too, and the head is fitted anew, pulled towards the old one. Then
probabilities and band are fitted on the left-out answers. What is reported is of the whole procedure, done once more
without each part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import probability_of, sigmoid
from leukoscope.bundle.head import HeadChange
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.datasets.patients import Patients
from leukoscope.errors import DataError
from leukoscope.fitting.decision import calibrate, log_loss
from leukoscope.fitting.folds import clearly_lower, deal_cells, deal_groups
from leukoscope.fitting.head import BIAS_ALONE, PULLS, Pull, choose_pull, loss_by_part, refit
from leukoscope.fitting.moments import ALIGNMENTS, Alignment, Moments
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores

FEWEST_CELLS: Final = 20
FEWEST_OF_CLASS: Final = 5
FEWEST_GROUPS: Final = 2  # of each class: one is left out, the other fitted on
FIGURES: Final = ("auc", "log_loss", "brier", "sensitivity", "specificity")
SIZES: Final = (10, 20, 40, 80)  # labels of the curve
_DRAWS: Final = 5  # of each size and part
_LOWER_IS_BETTER = frozenset({"log_loss", "brier"})
HeadLogits = Callable[[Array], Array]


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
class Home:
    """What of the bundle is needed to align features: its head, and the moments of its training cells.

    Attributes:
        head: logits [N] of embeddings [N, E].
        moments: of the training cells.
        unlabelled: embeddings of the laboratory's cells without a label, float64 [M, E].
    """

    head: HeadLogits
    moments: Moments
    unlabelled: Array


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did on parts left out: mean log loss without it and with it; kept where it is clearly lower."""

    name: str
    choice: str
    kept: bool
    without: float
    with_it: float


@dataclass(frozen=True, slots=True)
class Labels:
    """How well cells left out are ranked from so many labelled ones of the other parts: mean and range over draws."""

    cells: int
    auc: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """A head, the rule that goes with it, and what both gained on cells left out of their fit.

    ``units`` are the names of what was left out one by one; ``better``: the log loss fell by more than one standard
    error over them, and below that of one who states the share of blasts for every cell.
    """

    change: HeadChange
    alignment: Alignment
    pull: Pull
    steps: list[Step]
    rule: DecisionFacts
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    gain: dict[str, Estimate]
    curve: list[Labels]
    units: list[str]
    better: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    change: HeadChange
    alignment: Alignment
    pull: Pull
    steps: list[Step]
    crossed: Scores  # each cell by a head fitted without its part


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


def fit_laboratory(
    cells: LocalCells,
    rule: DecisionFacts,
    *,
    data: str,
    home: Home | None = None,
    pulls: Sequence[Pull] = PULLS,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Adaptation:
    """Fit alignment, head, probabilities and band to local cells, and measure all of it on cells left out.

    What is measured is the whole procedure: for each part left out, everything is chosen and fitted on the other parts
    alone, by leaving out parts of those in turn. Parts are patients where known, dealt into ten class by class where
    there are more; else ten random parts of the cells, which tell nothing of new patients. Cells without a label may be
    of the patients left out: they give moments, and no answer.

    Args:
        cells: of the laboratory.
        rule: of the bundle, used for `before`; its threshold is kept as a probability.
        data: name of the cells, for the record.
        home: of the bundle; None: features are not aligned.
        pulls: how far the head may go from the old one, from the least; see ``choose_pull``.
        seed: of the parts, of the draws of the curve and of the bootstrap.
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
        found = _fit(cells.take(~out), part[~out], home, pulls)
        fitted = _rule(found.crossed, plain, data)
        stated[out] = probability_of(changed_logits(cells.take(out), found.change, home), fitted)
        called[out] = stated[out] >= fitted.threshold
    whole = _fit(cells, part, home, pulls)
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
    return Adaptation(
        whole.change, whole.alignment, whole.pull, whole.steps, _rule(whole.crossed, plain, data), before, after, gain,
        _curve(cells, part, whole, home, seed), units, clearly_lower(kept, lost) and after["log_loss"].value < guess,
    )  # fmt: skip


def deal(cells: LocalCells, seed: int = 0) -> NDArray[np.int64]:
    """Part of each cell, int64 [N]: its patient, or one of ten parts; each class is dealt out on its own."""
    rng = np.random.default_rng(seed)
    _, unit = np.unique(cells.scores.group, return_inverse=True)
    blast = np.bincount(unit, weights=cells.scores.label) > 0
    part = deal_groups(blast, rng)
    _, dense = np.unique(part, return_inverse=True)
    return dense[unit].astype(np.int64)


def _fit(cells: LocalCells, part: NDArray[np.int64], home: Home | None, pulls: Sequence[Pull]) -> _Fitted:
    """Alignment, head, and the logits of each cell by a head fitted without it, to calibrate on."""
    scores, label = cells.scores, cells.scores.label
    if any(len(np.unique(label[part != left])) < 2 for left in np.unique(part)):
        part = deal_cells(label)  # a class of one patient: what is chosen may suit that patient too well
    _, unit = np.unique(part, return_inverse=True)
    alignment: Alignment = "none"
    steps: list[Step] = []
    # Beside a head that moves its bias alone, so that what is compared is the alignment.
    _, _, least = choose_pull(lambda rest: _aligned(cells, rest, "none", home), label, part, BIAS_ALONE)
    for how in ALIGNMENTS[1:] if home is not None else ():
        _, _, loss = choose_pull(lambda rest, how=how: _aligned(cells, rest, how, home), label, part, BIAS_ALONE)  # type: ignore[misc]
        kept = clearly_lower(loss, least)
        steps.append(_step("features aligned", how, kept, least, loss, len(label)))
        if kept:
            alignment, least = how, loss
    pull, crossed, loss = choose_pull(lambda rest: _aligned(cells, rest, alignment, home), label, part, pulls)
    plain = loss_by_part(label, scores.logit, unit)
    steps.append(_step("head fitted", pull.words(), clearly_lower(loss, plain), plain, loss, len(label)))
    everyone = np.ones(len(label), dtype=np.bool_)
    scale, shift = _map(cells, everyone, alignment, home)
    old, embedding = _aligned(cells, everyone, alignment, home)
    found = refit(pull.trust * old, embedding, label, pull.strength)
    change = HeadChange(scale, shift, pull.trust, found.weight, found.bias)
    table = Scores(scores.path, label, sigmoid(crossed), crossed, scores.subject, scores.group)
    return _Fitted(change, alignment, pull, steps, table)


def _map(cells: LocalCells, known: NDArray[np.bool_], how: Alignment, home: Home | None) -> tuple[Array, Array]:
    """Scale and shift of the features, from the cells that are known and those without a label."""
    if home is None:
        size = cells.embedding.shape[1]
        return np.ones(size), np.zeros(size)
    away = np.concatenate([cells.embedding[known], home.unlabelled])
    return Moments.of(away).brought_to(home.moments, how)


def _aligned(cells: LocalCells, known: NDArray[np.bool_], how: Alignment, home: Home | None) -> tuple[Array, Array]:
    """Old logits [N] and embeddings [N, E] of all cells, aligned by what is known."""
    if home is None or how == "none":
        return cells.scores.logit, cells.embedding
    scale, shift = _map(cells, known, how, home)
    embedding = cells.embedding * scale + shift
    return home.head(embedding), embedding


def changed_logits(cells: LocalCells, change: HeadChange, home: Home | None) -> Array:
    """What a changed head says of cells, float64 [N]."""
    seen = change.aligned(cells.embedding)
    moved = home is not None and not np.array_equal(seen, cells.embedding)
    old = home.head(seen) if home is not None and moved else cells.scores.logit
    return np.asarray(change.trust * old + seen @ change.weight + change.bias)


def _step(name: str, choice: str, kept: bool, without: Array, with_it: Array, cells: int) -> Step:
    return Step(name, choice, kept, float(without.sum() / cells), float(with_it.sum() / cells))


def _curve(cells: LocalCells, part: NDArray[np.int64], whole: _Fitted, home: Home | None, seed: int) -> list[Labels]:
    """AUC of left-out cells by the number of labels, with the alignment and the pull that all of them chose."""
    rng, label, found = np.random.default_rng(seed), cells.scores.label, []
    old, embedding = _aligned(cells, np.ones(len(label), dtype=np.bool_), whole.alignment, home)
    for size in (*(each for each in SIZES if each < len(label)), len(label)):
        told = []
        for _ in range(_DRAWS if size < len(label) else 1):
            logits = np.empty(len(label))
            for left in np.unique(part):
                rest = np.flatnonzero(part != left)
                taken = _some(rng, rest, label, size)
                made = refit(whole.pull.trust * old[taken], embedding[taken], label[taken], whole.pull.strength)
                out = part == left
                logits[out] = made.logits(whole.pull.trust * old[out], embedding[out])
            told.append(float(roc_auc(Ranking.of(label, logits).sweep())))
        found.append(Labels(size, float(np.mean(told)), min(told), max(told)))
    return found


def _some(rng: np.random.Generator, rows: NDArray[np.int64], label: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """So many of the rows, or all; both classes are among them."""
    if size >= len(rows):
        return rows
    order = rng.permutation(rows)
    first = np.concatenate([order[label[order] == kind][:1] for kind in (0, 1)])
    return np.concatenate([first, order[~np.isin(order, first)]])[: max(size, 2)]


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
