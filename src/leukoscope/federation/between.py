"""How far sites differ: random effects of a figure, the shift of stain and embedding, what would calibrate them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.stain import STAIN_NAMES
from leukoscope.federation.summary import Moments, SiteSummary
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.scores import Scores

_AIM: Final = 0.95  # specificity and sensitivity of the thresholds that are stated


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """How far the sites differ in one figure, by the random-effects model of DerSimonian & Laird (1986).

    Attributes:
        mean: of the sites, each weighed by what it adds, with its 95 % interval (normal approximation, cut
            at 0 and 1, where all figures end).
        tau: standard deviation of the sites' true values.
        i_squared: share of the spread between the sites that chance does not explain (Higgins & Thompson 2002).
        sites: how many count: those with an interval.
    """

    mean: Estimate
    tau: float
    i_squared: float
    sites: int


def heterogeneity(figures: Sequence[Estimate], drawn: Sequence[NDArray[np.float64]]) -> Heterogeneity | None:
    """Random effects over sites, from each site's figure and its replicates; None where fewer than two have any."""
    known = [
        (each.value, float(np.nanvar(replicates)))
        for each, replicates in zip(figures, drawn, strict=True)
        if each.has_interval and np.nanvar(replicates) > 0
    ]
    if len(known) < 2:
        return None
    value, variance = np.array(known).T
    weight = 1 / variance
    fixed = float(np.average(value, weights=weight))
    q = float((weight * (value - fixed) ** 2).sum())
    freedom = len(known) - 1
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    tau2 = max(0.0, (q - freedom) / scale) if scale > 0 else 0.0
    full = 1 / (variance + tau2)
    mean, error = float(np.average(value, weights=full)), float(1 / math.sqrt(full.sum()))
    i_squared = max(0.0, (q - freedom) / q) if q > 0 else 0.0
    return Heterogeneity(
        Estimate(mean, max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)),
        math.sqrt(tau2),
        i_squared,
        len(known),
    )


def shift_of(summary: SiteSummary, all_of: Sequence[SiteSummary]) -> dict[str, float] | None:
    """How far a site's stain and embedding lie from the others', in standard deviations; None where it is alone."""
    others = [other for other in all_of if other is not summary]
    if not others:
        return None
    stain = _away(summary.stain, [other.stain for other in others])
    features = _away(summary.embedding, [other.embedding for other in others])
    largest = int(np.argmax(np.abs(stain)))
    return {
        f"stain: {STAIN_NAMES[largest]}": round(float(stain[largest]), 3),
        "embedding": round(float(np.sqrt(np.mean(features**2))), 3),
    }


def _away(own: Moments, others: Sequence[Moments]) -> NDArray[np.float64]:
    """Difference of means over the standard deviation of the others' cells, of each number."""
    counts = np.array([each.count for each in others], np.float64)
    means = np.array([each.mean for each in others])
    deviations = np.array([each.deviation for each in others])
    mean = np.average(means, axis=0, weights=counts)
    variance = np.average(deviations**2 + (means - mean) ** 2, axis=0, weights=counts)
    return (np.array(own.mean) - mean) / np.sqrt(np.maximum(variance, 1e-12))


def pooled_temperature(table: Scores) -> float:
    """Of least log loss over all cells, from 0.1 to 10 in steps of 2 %; the probabilities' own is divided by it."""
    odds = np.clip(table.probability, 1e-6, 1 - 1e-6)
    stated = np.log(odds / (1 - odds))
    sign = np.where(table.label == 1, 1.0, -1.0)
    grid = np.exp(np.linspace(math.log(0.1), math.log(10), 233))
    losses = [float(np.logaddexp(0, -sign * stated / each).mean()) for each in grid]
    return round(float(grid[int(np.argmin(losses))]), 3)


def pooled_thresholds(table: Scores) -> dict[str, float]:
    """The highest probability that still reaches a sensitivity, the lowest that reaches a specificity, of `_AIM`."""
    if len(set(table.label.tolist())) < 2:
        return {}
    stated = np.unique(table.probability)[::-1]
    found = {}
    reached = np.array([np.mean(table.probability[table.label == 1] >= each) for each in stated])
    spared = np.array([np.mean(table.probability[table.label == 0] < each) for each in stated])
    if (reached >= _AIM).any():
        found["sensitivity_95"] = round(float(stated[reached >= _AIM].max()), 6)
    if (spared >= _AIM).any():
        found["specificity_95"] = round(float(stated[spared >= _AIM].min()), 6)
    return found
