"""The figures of a comparison as one function of cell weights, and their paired bootstrap over patient groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from leukoscope.evaluation import calibration, metrics, ranking
from leukoscope.evaluation.glossary import BY_KEY
from leukoscope.evaluation.intervals import REPLICATES, Estimate, Resampling, estimates
from leukoscope.evaluation.panel import GRID
from leukoscope.evaluation.subjects import ENOUGH_CELLS, SubjectRanking, subject_names
from leukoscope.evaluation.weighting import Array
from leukoscope.studies.pool import Entry, Pool

KEYS = (
    "auc", "balanced_accuracy", "sensitivity", "specificity", "accuracy", "f1_weighted", "f1_macro", "matthews",
    "average_precision", "sensitivity_at_95_specificity", "specificity_at_95_sensitivity", "brier", "ece",
    "subject_auc",
)  # fmt: skip


FOLD_KEYS = ("auc", "f1_weighted")


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """Figures of one pool; sorts once, then takes any weights."""

    pool: Pool
    order: ranking.Ranking
    subjects: SubjectRanking

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """Cells are ranked by logit across folds, and called as each fold's own bundle calls them."""
        scores = pool.scores
        return cls(pool, ranking.Ranking.of(scores.label, scores.logit), SubjectRanking.of(scores))

    def figures(self, weights: Array) -> Array:
        """Figures in the order of ``KEYS``: weights [N] or [B, N] to [K] or [B, K]."""
        label, probability = self.pool.scores.label, self.pool.scores.probability
        sweep = self.order.sweep(weights)
        table = metrics.confusion(label, self.pool.called, weights)
        values = {
            "auc": ranking.roc_auc(sweep),
            "balanced_accuracy": metrics.balanced_accuracy(table),
            "sensitivity": metrics.sensitivity(table),
            "specificity": metrics.specificity(table),
            "accuracy": metrics.accuracy(table),
            "f1_weighted": metrics.f1_weighted(table),
            "f1_macro": metrics.f1_macro(table),
            "matthews": metrics.matthews(table),
            "average_precision": ranking.average_precision(sweep),
            "sensitivity_at_95_specificity": ranking.sensitivity_at(sweep, 0.95),
            "specificity_at_95_sensitivity": ranking.specificity_at(sweep, 0.95),
            "brier": calibration.brier(label, probability, weights),
            "ece": calibration.calibration_error(calibration.equal_width(label, probability, weights)),
            "subject_auc": self.subjects.auc(weights),
        }
        return np.stack([values[key] for key in KEYS], axis=-1)

    def roc(self) -> Array:
        """Sensitivity on ``panel.GRID`` of false positive rates, float64 [101]."""
        return ranking.roc_on(self.order.sweep(np.ones(len(self.pool.scores))), GRID)


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """What an entry reached.

    Attributes:
        figures: key to the mean over seeds, with its interval over patient groups.
        differences: key to this entry minus the reference, paired; empty for the reference itself.
        seeds: seed to the figures of that seed.
        folds: fold to the figures ``FOLD_KEYS`` within it, mean over seeds.
        worst: of the subjects with ``ENOUGH_CELLS`` cells or more, the one with the fewest cells decided rightly, and
            that share, mean over seeds; None if no subject has so many.
        roc: sensitivity on ``panel.GRID``, mean over seeds, float64 [101].
    """

    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    seeds: dict[int, dict[str, float]]
    folds: dict[int, dict[str, float]]
    worst: tuple[str, float] | None
    roc: Array

    def better(self, key: str) -> bool | None:
        """Whether the entry is better than the reference; None if the cells do not tell them apart."""
        found = self.differences.get(key)
        if found is None or np.isnan(found.low) or found.low <= 0 <= found.high:
            return None
        return (found.low > 0) == BY_KEY[key].higher_is_better


def measure_entries(
    entries: Sequence[Entry], reference: str, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[dict[str, Measure], Resampling]:
    """Figures of all entries on the same replicates of the same cells.

    What makes a patient hard for two networks cancels in their difference (paired bootstrap: Efron & Tibshirani 1993).
    A figure of several seeds is the mean of the seeds' figures, in each replicate too: the interval is about patients,
    and how much seeds differ is shown beside it. Intervals are not widened for the number of comparisons.

    Args:
        entries: from ``pool.on_common_cells``: same cells, same order.
        reference: what differences are taken to.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.
    """
    scores = entries[0].pools[0].scores
    plan = Resampling.by_group(scores.label, scores.group, replicates=replicates, seed=seed)
    gauges = {entry.name: [Gauge.of(pool) for pool in entry.pools] for entry in entries}
    names = list(gauges)

    def everything(weights: Array) -> Array:
        means = [np.mean([each.figures(weights) for each in gauges[name]], axis=0) for name in names]
        return np.stack(means, axis=-2)

    value = everything(np.ones(len(scores)))
    drawn = plan.apply(everything)
    home = names.index(reference)
    found: dict[str, Measure] = {}
    for at, entry in enumerate(entries):
        own = gauges[entry.name]
        ones = np.ones(len(scores))
        found[entry.name] = Measure(
            figures=_honest(estimates(value[at], drawn[:, at]), entry.pools[0], plan),
            differences={}
            if at == home
            else _honest(estimates(value[at] - value[home], drawn[:, at] - drawn[:, home]), entry.pools[0], plan),
            seeds={g.pool.seed: dict(zip(KEYS, g.figures(ones).tolist(), strict=True)) for g in own},
            folds={fold: _within(entry, fold) for fold in sorted(set(entry.pools[0].fold.tolist()))},
            worst=_worst(entry),
            roc=np.mean([g.roc() for g in own], axis=0),
        )
    return found, plan


def _honest(values: list[Estimate], pool: Pool, plan: Resampling) -> dict[str, Estimate]:
    """By key; a figure whose class comes from one patient group gets no interval: nothing of it can vary."""
    scores = pool.scores
    several = {
        "both": plan.varies,
        "blast": len(np.unique(scores.group[scores.label == 1])) > 1,
        "normal": len(np.unique(scores.group[scores.label == 0])) > 1,
    }
    return {
        key: each if several[BY_KEY[key].needs] else Estimate(each.value, np.nan, np.nan, each.undefined)
        for key, each in zip(KEYS, values, strict=True)
    }


def _within(entry: Entry, fold: int) -> dict[str, float]:
    parts = [Gauge.of(pool.part(pool.fold == fold)) for pool in entry.pools]
    means = np.mean([part.figures(np.ones(len(part.pool.scores))) for part in parts], axis=0)
    return {key: float(means[KEYS.index(key)]) for key in FOLD_KEYS}


def _worst(entry: Entry) -> tuple[str, float] | None:
    first = entry.pools[0].scores
    names, index = np.unique(subject_names(first), return_inverse=True)
    right = np.mean([pool.called == pool.scores.label for pool in entry.pools], axis=0)
    cells = np.bincount(index)
    share = np.bincount(index, weights=right) / cells
    many = np.flatnonzero(cells >= ENOUGH_CELLS).tolist()
    at = min(many, key=lambda place: (share[place], -cells[place]), default=None)
    return None if at is None else (str(names[at]), float(share[at]))


def as_json(measure: Measure) -> dict[str, Any]:
    """A measure as plain JSON values; NaN becomes None."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return {
        "metrics": {key: each.as_dict() for key, each in measure.figures.items()},
        "minus_reference": {key: each.as_dict() for key, each in measure.differences.items()} or None,
        "better_than_reference": {key: measure.better(key) for key in measure.differences} or None,
        "by_seed": {str(s): {key: number(v) for key, v in each.items()} for s, each in measure.seeds.items()},
        "by_fold": {str(f): {key: number(v) for key, v in each.items()} for f, each in measure.folds.items()},
        "worst_subject": measure.worst and {"subject": measure.worst[0], "accuracy": measure.worst[1]},
        "roc": {"false_positive_rate": GRID.tolist(), "sensitivity": [number(v) for v in measure.roc.tolist()]},
    }
