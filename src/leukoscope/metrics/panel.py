"""All figures of a table at once, as one function of picture weights: what the bootstrap calls.

Beside them: the glossary of the figures, the same answers person by person (an average over pictures can hide a patient
on whom the model fails), and two models on the same pictures, with paired intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.metrics import calibration, counts, coverage, ranking
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling, estimates
from leukoscope.metrics.counts import Array
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores
from leukoscope.text import natural

Needs = Literal["blast", "normal", "both"]


@dataclass(frozen=True, slots=True)
class Term:
    """One figure. ``needs``: the class whose pictures decide it; ``higher_is_better`` is False for errors."""

    key: str
    title: str
    meaning: str
    needs: Needs = "both"
    higher_is_better: bool = True


TERMS: tuple[Term, ...] = (
    Term("auc", "AUC", "Chance that a blast is ranked above a normal cell, over all thresholds; ties count half."),
    Term("balanced_accuracy", "Balanced accuracy", "Mean of sensitivity and specificity."),
    Term("sensitivity", "Sensitivity", "Share of blasts called blast (recall of blast).", "blast"),
    Term("specificity", "Specificity", "Share of normal cells called normal (recall of normal).", "normal"),
    Term("accuracy", "Accuracy", "Share of pictures decided rightly; depends on the mix of classes."),
    Term("f1_weighted", "F1, weighted", "Mean of the F1 of both classes, weighted by their numbers of pictures."),
    Term("f1_macro", "F1, macro", "Plain mean of the F1 of both classes."),
    Term("f1_blast", "F1 of blast", "Harmonic mean of precision and recall of blast."),
    Term("f1_normal", "F1 of normal", "Harmonic mean of precision and recall of normal."),
    Term(
        "precision_blast", "Precision of blast", "Share of cells called blast that are; depends on the mix of classes."
    ),
    Term(
        "precision_normal",
        "Precision of normal",
        "Share of cells called normal that are; depends on the mix of classes.",
    ),
    Term("matthews", "Matthews correlation", "Correlation of truth and decision, from -1 to 1; 0 is chance."),
    Term(
        "average_precision",
        "Average precision",
        "Area under the precision-recall curve; chance is the share of blasts.",
    ),
    Term(
        "sensitivity_at_95_specificity",
        "Sensitivity at 95 % specificity",
        "Best sensitivity of any threshold with a specificity of at least 95 %, chosen on these very pictures.",
    ),
    Term(
        "specificity_at_95_sensitivity",
        "Specificity at 95 % sensitivity",
        "Best specificity of any threshold with a sensitivity of at least 95 %, chosen on these very pictures.",
    ),
    Term("brier", "Brier score", "Mean squared distance of probability and truth; lower is better.", "both", False),
    Term(
        "ece",
        "Calibration error",
        "Mean distance of stated probability and share of blasts, 15 bins of equal width; lower is better.",
        "both",
        False,
    ),
    Term(
        "ece_adaptive",
        "Calibration error, adaptive",
        "The same with 15 bins of equal numbers of pictures; lower is better.",
        "both",
        False,
    ),
    Term(
        "aurc",
        "Risk over coverages",
        "Share wrong when the least sure pictures are refused, mean over all shares decided; lower is better.",
        "both",
        False,
    ),
    Term(
        "coverage_at_1_missed",
        "Coverage at 1 % missed",
        "Largest share decided if cells below the threshold are referred until at most 1 % of blasts are called "
        "normal, chosen on these very pictures.",
    ),
    Term(
        "subject_auc",
        "AUC of subjects",
        "AUC where a subject counts once, scored by the mean probability of its cells.",
    ),
)
BY_KEY: dict[str, Term] = {term.key: term for term in TERMS}
KEYS: tuple[str, ...] = tuple(term.key for term in TERMS)


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


@dataclass(frozen=True, slots=True)
class Panel:
    """The figures of ``glossary.TERMS`` for fixed answers and a fixed threshold; sorts once, then takes any weights."""

    scores: Scores
    threshold: float
    order: ranking.Ranking
    subjects: SubjectRanking
    selection: coverage.Selection
    descent: coverage.Descent

    @classmethod
    def of(cls, scores: Scores, threshold: float) -> Self:
        """Pictures are ranked by logit, which does not saturate, and called blast where probability >= threshold."""
        return cls(
            scores,
            threshold,
            ranking.Ranking.of(scores.label, scores.logit),
            SubjectRanking.of(scores),
            coverage.Selection.of(scores.label, scores.probability, threshold),
            coverage.Descent.of(scores.label, scores.probability, threshold),
        )

    def figures(self, weights: Array) -> Array:
        """Figures in the order of ``glossary.KEYS``: weights [N] or [B, N] to [K] or [B, K]."""
        return self._stack(weights, self.order.sweep(weights), self._bins(weights))

    def everything(self, weights: Array) -> Array:
        """The figures; on ``GRID`` ROC, precision-recall, risk and missed blasts by coverage; shares of blasts per bin.

        [..., K + 4 M + bins].
        """
        sweep, bins = self.order.sweep(weights), self._bins(weights)
        curves = (
            ranking.roc_on(sweep, GRID),
            ranking.precision_on(sweep, GRID),
            self.selection.risk_on(GRID, weights),
            self.descent.missed_on(GRID, weights),
            bins.observed,
        )
        return np.concatenate([self._stack(weights, sweep, bins), *curves], axis=-1)

    def _bins(self, weights: Array) -> calibration.Bins:
        return calibration.equal_width(self.scores.label, self.scores.probability, weights)

    def _stack(self, weights: Array, sweep: ranking.Sweep, bins: calibration.Bins) -> Array:
        label, probability = self.scores.label, self.scores.probability
        table = counts.confusion(label, probability >= self.threshold, weights)
        values = {
            "auc": ranking.roc_auc(sweep),
            "balanced_accuracy": counts.balanced_accuracy(table),
            "sensitivity": counts.sensitivity(table),
            "specificity": counts.specificity(table),
            "accuracy": counts.accuracy(table),
            "f1_weighted": counts.f1_weighted(table),
            "f1_macro": counts.f1_macro(table),
            "f1_blast": counts.f1(table),
            "f1_normal": counts.f1(table.swapped),
            "precision_blast": counts.precision(table),
            "precision_normal": counts.precision(table.swapped),
            "matthews": counts.matthews(table),
            "average_precision": ranking.average_precision(sweep),
            "sensitivity_at_95_specificity": ranking.sensitivity_at(sweep, 0.95),
            "specificity_at_95_sensitivity": ranking.specificity_at(sweep, 0.95),
            "brier": calibration.brier(label, probability, weights),
            "ece": calibration.calibration_error(bins),
            "ece_adaptive": calibration.calibration_error(calibration.equal_mass(label, probability, weights)),
            "aurc": self.selection.area(weights),
            "coverage_at_1_missed": self.descent.coverage_at(coverage.MISSED_LEVEL, weights),
            "subject_auc": self.subjects.auc(weights),
        }
        return np.stack([values[key] for key in KEYS], axis=-1)


def with_intervals(value: Array, drawn: Array, scores: Scores, plan: Resampling) -> dict[str, Estimate]:
    """Figures by key with their intervals, from ``value`` [K] and replicates [R, K] in the order of ``KEYS``.

    A figure of one class whose pictures all come from one group gets no interval: the group is in every replicate once,
    so the replicates agree about it, and an interval of no width would be a lie.
    """
    found = dict(zip(KEYS, estimates(value, drawn), strict=True))
    return {
        key: each if _resampled(key, scores, plan) else Estimate(each.value, math.nan, math.nan, each.undefined)
        for key, each in found.items()
    }


def _resampled(key: str, scores: Scores, plan: Resampling) -> bool:
    needs = BY_KEY[key].needs
    if needs == "both":
        return plan.varies
    return len(np.unique(scores.group[scores.label == (needs == "blast")])) > 1


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
    drawn = plan.apply(lambda weights: panels[1].figures(weights) - panels[0].figures(weights))
    values = [panel.figures(np.ones(len(first))) for panel in panels]
    found = with_intervals(values[1] - values[0], drawn, first, plan)
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
