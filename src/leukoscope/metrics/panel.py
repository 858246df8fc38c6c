"""All figures of a table at once, as one function of picture weights: what the bootstrap calls.

Beside them: the same answers person by person (an average over pictures can hide a patient on whom the model fails),
and two models on the same pictures, with paired intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.metrics import calibration, counts, coverage, ranking
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling, Statistic, estimates
from leukoscope.metrics.counts import Array
from leukoscope.metrics.glossary import BY_KEY, KEYS, Needs
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores
from leukoscope.text import natural

ENOUGH_CELLS = 20


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject: pictures, blasts among them, mean probability of blast, shares called blast and decided rightly.

    ``brier`` is the mean squared distance of probability and truth over its pictures; ``referred`` the share of them in
    the band. Both shares before it are those of the bare threshold, as if nothing were referred.
    """

    subject: str
    group: str
    n: int
    blasts: int
    mean_probability: float
    called_blast: float
    accuracy: float
    brier: float
    referred: float = 0.0

    @property
    def gap(self) -> float:
        """Mean probability minus share of blasts: above 0 the model sees too much here, below 0 too little."""
        return self.mean_probability - self.blasts / self.n

    @property
    def label(self) -> str:
        """``blast``, ``normal`` or ``mixed``: the classes among its pictures."""
        return "normal" if self.blasts == 0 else "blast" if self.blasts == self.n else "mixed"


def subject_names(scores: Scores) -> NDArray[np.str_]:
    """Name of the subject of each picture, [N]; the group's where the data set names no subject."""
    return np.where(scores.subject == "", scores.group, scores.subject).astype(np.str_)


def subject_rows(scores: Scores, threshold: float, refer_from: float | None = None) -> tuple[SubjectRow, ...]:
    """One row per subject, in natural order of names; blast is called where probability >= threshold.

    Below the threshold, pictures of a probability of at least ``refer_from`` count as referred; none if it is None.
    """
    names, first, index = np.unique(subject_names(scores), return_index=True, return_inverse=True)
    called = scores.probability >= threshold
    n = np.bincount(index)
    blasts = np.bincount(index, weights=scores.label)
    probability = np.bincount(index, weights=scores.probability) / n
    share = np.bincount(index, weights=called) / n
    right = np.bincount(index, weights=called == scores.label) / n
    distance = np.bincount(index, weights=(scores.probability - scores.label) ** 2) / n
    band = ~called & (scores.probability >= (np.inf if refer_from is None else refer_from))
    referred = np.bincount(index, weights=band) / n
    rows = [
        SubjectRow(
            subject=str(names[k]),
            group=str(scores.group[first[k]]),
            n=int(n[k]),
            blasts=int(blasts[k]),
            mean_probability=float(probability[k]),
            called_blast=float(share[k]),
            accuracy=float(right[k]),
            brier=float(distance[k]),
            referred=float(referred[k]),
        )
        for k in range(len(names))
    ]
    return tuple(sorted(rows, key=lambda row: natural(row.subject)))


def worst_subject(rows: Sequence[SubjectRow], *, cells: int = ENOUGH_CELLS) -> SubjectRow | None:
    """The subject of lowest accuracy among those with at least ``cells`` pictures; of equals, the one with most."""
    return min((row for row in rows if row.n >= cells), key=lambda row: (row.accuracy, -row.n), default=None)


@dataclass(frozen=True, slots=True)
class SubjectRanking:
    """AUC in which a subject counts once, scored by the mean probability of its pictures.

    A subject is positive if any of its pictures is a blast. Weights are those of the pictures [..., N]; all pictures of
    a subject must have the same weight, as in a bootstrap over groups.
    """

    first: NDArray[np.int64]
    ranking: Ranking

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """Average and sort the subjects of a table."""
        _, first, index = np.unique(subject_names(scores), return_index=True, return_inverse=True)
        mean = np.bincount(index, weights=scores.probability) / np.bincount(index)
        positive = np.bincount(index, weights=scores.label) > 0
        return cls(first.astype(np.int64), Ranking.of(positive, mean))

    def auc(self, weights: Array) -> Array:
        """AUC over subjects, [...]."""
        return roc_auc(self.ranking.sweep(weights[..., self.first]))


GRID: Array = np.linspace(0, 1, 101)  # of false positive rate and of recall, for the bands of the curves
GRID.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Figures of ``glossary.TERMS`` for fixed answers and fixed decisions; sorts once, then takes any weights.

    Attributes:
        scores: the answers; pictures are ranked by logit, which does not saturate.
        called: bool [N], whether blast is called.
        keys: of the figures, in their order.
        refusing: risk by coverage and bands that end at the threshold; None where no single threshold decided.
    """

    scores: Scores
    called: NDArray[np.bool_]
    keys: tuple[str, ...]
    order: Ranking
    subjects: SubjectRanking
    refusing: tuple[coverage.Selection, coverage.Descent] | None = None

    @classmethod
    def of(cls, scores: Scores, threshold: float, keys: Sequence[str] = KEYS) -> Self:
        """Blast is called where probability >= threshold."""
        columns = scores.label, scores.probability, threshold
        refusing = coverage.Selection.of(*columns), coverage.Descent.of(*columns)
        called = scores.probability >= threshold
        order = Ranking.of(scores.label, scores.logit)
        return cls(scores, called, tuple(keys), order, SubjectRanking.of(scores), refusing)

    @classmethod
    def called_apart(cls, scores: Scores, called: NDArray[np.bool_], keys: Sequence[str]) -> Self:
        """Decisions of several networks, each at its own threshold: ``keys`` without those of risk and coverage."""
        order = Ranking.of(scores.label, scores.logit)
        return cls(scores, called, tuple(keys), order, SubjectRanking.of(scores))

    def figures(self, weights: Array) -> Array:
        """Figures in the order of ``keys``: weights [N] or [B, N] to [K] or [B, K]."""
        return self._stack(weights, self.order.sweep(weights), self._bins(weights))

    def everything(self, weights: Array) -> Array:
        """The figures; on ``GRID`` ROC, precision-recall, risk and missed blasts by coverage; shares of blasts per bin.

        [..., K + 4 M + bins]. Only where one threshold decided.
        """
        assert self.refusing is not None
        selection, descent = self.refusing
        sweep, bins = self.order.sweep(weights), self._bins(weights)
        curves = (
            ranking.roc_on(sweep, GRID),
            ranking.precision_on(sweep, GRID),
            selection.risk_on(GRID, weights),
            descent.missed_on(GRID, weights),
            bins.observed,
        )
        return np.concatenate([self._stack(weights, sweep, bins), *curves], axis=-1)

    def points(self) -> tuple[tuple[Array, Array], ...]:
        """All points x, y [T] of the four curves of ``everything``."""
        assert self.refusing is not None
        sweep, (selection, descent) = self.order.sweep(), self.refusing
        roc = sweep.false_positive_rate, sweep.sensitivity
        return roc, (sweep.sensitivity, sweep.precision), selection.curve(), descent.curve()

    def roc(self) -> Array:
        """Sensitivity on ``GRID`` of false positive rates, float64 [101]."""
        return ranking.roc_on(self.order.sweep(np.ones(len(self.scores))), GRID)

    def _bins(self, weights: Array) -> calibration.Bins:
        return calibration.equal_width(self.scores.label, self.scores.probability, weights)

    def _stack(self, weights: Array, sweep: ranking.Sweep, bins: calibration.Bins) -> Array:
        label, probability = self.scores.label, self.scores.probability
        table = counts.confusion(label, self.called, weights)
        figures: dict[str, Callable[[], Array]] = {
            "auc": lambda: ranking.roc_auc(sweep),
            "balanced_accuracy": lambda: counts.balanced_accuracy(table),
            "sensitivity": lambda: counts.sensitivity(table),
            "specificity": lambda: counts.specificity(table),
            "accuracy": lambda: counts.accuracy(table),
            "f1_weighted": lambda: counts.f1_weighted(table),
            "f1_macro": lambda: counts.f1_macro(table),
            "f1_blast": lambda: counts.f1(table),
            "f1_normal": lambda: counts.f1(table.swapped),
            "precision_blast": lambda: counts.precision(table),
            "precision_normal": lambda: counts.precision(table.swapped),
            "matthews": lambda: counts.matthews(table),
            "average_precision": lambda: ranking.average_precision(sweep),
            "sensitivity_at_95_specificity": lambda: ranking.sensitivity_at(sweep, 0.95),
            "specificity_at_95_sensitivity": lambda: ranking.specificity_at(sweep, 0.95),
            "brier": lambda: calibration.brier(label, probability, weights),
            "ece": lambda: calibration.calibration_error(bins),
            "ece_adaptive": lambda: calibration.calibration_error(calibration.equal_mass(label, probability, weights)),
            "subject_auc": lambda: self.subjects.auc(weights),
        }
        if self.refusing is not None:
            selection, descent = self.refusing
            figures["aurc"] = lambda: selection.area(weights)
            figures["coverage_at_1_missed"] = lambda: descent.coverage_at(coverage.MISSED_LEVEL, weights)
        return np.stack([figures[key]() for key in self.keys], axis=-1)


def measure(figures: Statistic, keys: Iterable[str], plan: Resampling) -> dict[str, Estimate]:
    """Figures by key with their intervals; ``figures`` maps weights [N] or [B, N] to [K] or [B, K]."""
    return with_intervals(keys, figures(np.ones(len(plan.unit))), plan.apply(figures), plan)


def with_intervals(keys: Iterable[str], value: Array, drawn: Array, plan: Resampling) -> dict[str, Estimate]:
    """The same from ``value`` [K] and replicates [R, K]: the one place that knows when an interval is left out.

    Where all replicates must agree, no interval is given: its width of nothing would claim a certainty that nobody has.
    That is so for a figure of one class whose pictures come from one group, and for all figures where no kind of group
    has two members. Keys that the glossary does not know are figures of both classes.
    """
    needs: dict[str, Needs] = {key: BY_KEY[key].needs if key in BY_KEY else "both" for key in keys}
    found = zip(needs.items(), estimates(value, drawn), strict=True)
    return {key: each if plan.varies(of_class) else each.bare() for (key, of_class), each in found}


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of a comparison: a figure of both models, and second minus first with its 95 % interval."""

    key: str
    first: float
    second: float
    difference: Estimate

    @property
    def better(self) -> str | None:
        """``first`` or ``second`` if the interval excludes 0, None if the data do not tell them apart."""
        if self.difference.low > 0:
            return "second" if BY_KEY[self.key].higher_is_better else "first"
        if self.difference.high < 0:
            return "first" if BY_KEY[self.key].higher_is_better else "second"
        return None


def compare(
    first: Scores,
    second: Scores,
    *,
    thresholds: tuple[float, float],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Differences of all figures of ``glossary.TERMS`` between two models.

    Both models are measured on the same replicates, so what makes a patient hard for both cancels (paired bootstrap:
    Efron & Tibshirani 1993). Many figures are compared at once and the intervals are not widened for that.

    Args:
        first: answers of one model.
        second: answers of the other on the same pictures, in any order.
        thresholds: of the first and of the second model, in [0, 1].
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        DataError: the tables are not about the same pictures with the same labels and groups.
    """
    aligned = _aligned(first, second)
    panels = [Panel.of(scores, threshold) for scores, threshold in zip((first, aligned), thresholds, strict=True)]
    plan = Resampling.by_group(first.label, first.group, replicates=replicates, seed=seed)
    found = measure(lambda weights: panels[1].figures(weights) - panels[0].figures(weights), KEYS, plan)
    values = [panel.figures(np.ones(len(first))) for panel in panels]
    rows = zip(KEYS, values[0].tolist(), values[1].tolist(), strict=True)
    return tuple(Difference(key, one, two, found[key]) for key, one, two in rows)


def _aligned(first: Scores, second: Scores) -> Scores:
    place = {path: row for row, path in enumerate(second.path)}
    missing = [path for path in first.path if path not in place]
    if missing or len(first) != len(second):
        only = missing[0] if missing else (set(place) - set(first.path)).pop()
        raise DataError(f"picture {only!r} is in one table only", remedy="evaluate both models on the same pictures")
    aligned = second.take([place[path] for path in first.path])
    for name in ("label", "group"):
        differs = getattr(first, name) != getattr(aligned, name)
        if differs.any():
            path = first.path[int(np.argmax(differs))]
            raise DataError(f"the tables give picture {path!r} another {name}", remedy="evaluate both on one manifest")
    return aligned
