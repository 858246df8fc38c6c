"""All figures of a table at once, as one function of picture weights: what the bootstrap calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from leukoscope.evaluation import calibration, coverage, metrics, ranking
from leukoscope.evaluation.glossary import BY_KEY, KEYS
from leukoscope.evaluation.intervals import Estimate, Resampling, estimates
from leukoscope.evaluation.subjects import SubjectRanking
from leukoscope.evaluation.table import Scores
from leukoscope.evaluation.weighting import Array

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
        table = metrics.confusion(label, probability >= self.threshold, weights)
        values = {
            "auc": ranking.roc_auc(sweep),
            "balanced_accuracy": metrics.balanced_accuracy(table),
            "sensitivity": metrics.sensitivity(table),
            "specificity": metrics.specificity(table),
            "accuracy": metrics.accuracy(table),
            "f1_weighted": metrics.f1_weighted(table),
            "f1_macro": metrics.f1_macro(table),
            "f1_blast": metrics.f1(table),
            "f1_normal": metrics.f1(table.swapped),
            "precision_blast": metrics.precision(table),
            "precision_normal": metrics.precision(table.swapped),
            "matthews": metrics.matthews(table),
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
