"""From the cells of one subject to one statement: the one place that does it, for running and for measuring.

A network that calls a third of healthy cells blast calls some cells blast in everybody. The share of cells called
blast is therefore corrected by what the network does on patients that it never saw (W. Rogan, B. Gladen: Estimating
prevalence from the results of a screening test, *American Journal of Epidemiology* 107, 1978). Sensitivity and false
alarms differ from patient to patient by far more than chance between cells, so the interval takes both as drawn from
what was seen over patients, beside the chance of the cells (A. Gelman, B. Carpenter: Bayesian analysis of tests with
unknown specificity and sensitivity, *Applied Statistics* 69, 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import logit_at
from leukoscope.bundle.proportion import LEVEL, Proportion, beta_quantile
from leukoscope.bundle.schema import BundleFacts, RateFacts, SubjectFacts

Statement = Literal["blasts likely", "blasts not seen", "refer", "too few cells", "withheld"]
MIN_CELLS = 20
_NODES = 32  # quantiles of each of the two rates
_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True, slots=True)
class Corrected:
    """Share of blasts among a subject's cells, corrected for the network's errors, with its 95 % interval."""

    value: float
    low: float
    high: float


def subject_rule(facts: BundleFacts) -> SubjectFacts | str:
    """The rule of a bundle, or why there is none that holds."""
    rule = facts.subjects
    if rule is None:
        return "the bundle holds no rule fitted on patients"
    if not math.isclose(logit_at(facts.decision.threshold, facts.decision), rule.logit, abs_tol=1e-6):
        return "the bundle's threshold was moved after its rule for subjects was fitted"
    return rule


def state(rule: SubjectFacts, share: float, cells: int) -> tuple[Statement, str]:
    """The statement for a subject of whose ``cells`` answered ones the share ``share`` was called blast, and why."""
    if cells < rule.min_cells:
        return "too few cells", f"{cells} of at least {rule.min_cells} cells"
    told = f"{100 * share:.1f} % of {cells} cells were called blast"
    if rule.likely_from is not None and share >= rule.likely_from:
        return "blasts likely", f"{told}, {100 * rule.likely_from:.1f} % or more"
    if rule.unlikely_below is not None and share < rule.unlikely_below:
        return "blasts not seen", f"{told}, less than {100 * rule.unlikely_below:.1f} %"
    least, most = rule.likely_from, rule.unlikely_below
    upper = "no share is enough to state blasts" if least is None else f"blasts are stated from {100 * least:.1f} %"
    lower = "no share is low enough to state none" if most is None else f"none seen below {100 * most:.1f} %"
    return "refer", f"{told}; {upper}, {lower}"


def corrected_share(rule: SubjectFacts, share: Proportion) -> Corrected:
    """Correct a share of cells called blast, by Rogan and Gladen, with the shortest interval of the posterior.

    The prior of the true share is flat; sensitivity and false alarms have the beta distributions of the rule. Where the
    interval leaves out the corrected share, which ends at 0 and 1, it is drawn out to it.

    Args:
        rule: of the bundle.
        share: of the cells called blast, with the number of independent cells that it is worth.
    """
    hit, false = rule.sensitivity.mean, rule.false_alarm.mean
    value = (share.value - false) / (hit - false) if hit > false else share.value
    value = min(max(value, 0.0), 1.0)
    posterior = _posterior(rule, share.value * share.effective, (1 - share.value) * share.effective)
    kept = _shortest(posterior, LEVEL)
    return Corrected(value, min(value, float(_GRID[kept[0]])), max(value, float(_GRID[kept[1]])))


def _posterior(rule: SubjectFacts, hits: float, others: float) -> NDArray[np.float64]:
    """Posterior of the true share on the grid, [G], sum 1."""
    sensitivity = np.array(_quantiles(rule.sensitivity))[:, None, None]
    false = np.array(_quantiles(rule.false_alarm))[None, :, None]
    rate = np.clip(_GRID * sensitivity + (1 - _GRID) * false, 1e-12, 1 - 1e-12)
    log = hits * np.log(rate) + others * np.log1p(-rate)
    likelihood: NDArray[np.float64] = np.exp(log - log.max()).sum(axis=(0, 1))
    posterior: NDArray[np.float64] = likelihood / likelihood.sum()
    return posterior


def _shortest(posterior: NDArray[np.float64], level: float) -> tuple[int, int]:
    """First and last point of the shortest run of points that holds ``level``."""
    total = np.concatenate([[0.0], np.cumsum(posterior)])
    last = np.minimum(np.searchsorted(total, total[:-1] + level - 1e-12), len(posterior))
    whole = total[last] - total[:-1] >= level - 1e-9
    start = int(np.argmin(np.where(whole, last - np.arange(len(last)), len(posterior) + 1)))
    return start, int(last[start]) - 1


def _quantiles(rate: RateFacts) -> tuple[float, ...]:
    return _beta_nodes(rate.mean, rate.correlation)


@lru_cache(maxsize=64)
def _beta_nodes(mean: float, correlation: float) -> tuple[float, ...]:
    """Equally likely values of a beta distribution of this mean and correlation: its middles of ``_NODES`` parts."""
    size = (1 - correlation) / correlation
    held = min(max(mean, 1e-6), 1 - 1e-6)
    return tuple(beta_quantile((k + 0.5) / _NODES, held * size, (1 - held) * size) for k in range(_NODES))
