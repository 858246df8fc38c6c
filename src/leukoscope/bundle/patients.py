"""From the cells of one subject to one statement: the one place that does it, for running and for measuring.

A network that calls a third of healthy cells blast calls some cells blast in everybody. The share of cells called
blast is therefore corrected by what the network does on patients that it never saw (W. Rogan, B. Gladen: Estimating
prevalence from the results of a screening test, *American Journal of Epidemiology* 107, 1978). Sensitivity and false
alarms differ from patient to patient by far more than chance between cells, so the interval takes both as drawn from
what was seen over patients, beside the chance of the cells (A. Gelman, B. Carpenter: Bayesian analysis of tests with
unknown specificity and sensitivity, *Applied Statistics* 69, 2020).

A share of cells and how sure it is, where cells of one microscope field resemble each other.

What a bundle's rule for subjects promises and what it does not, in sentences for people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.decision import logit_at, share
from leukoscope.bundle.schema import BundleFacts, RateFacts, SubjectFacts
from leukoscope.metrics.bootstrap import Estimate

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % interval.

    Attributes:
        value: the share, 0 to 1; ``low`` and ``high`` are the ends of its interval.
        cells: how many cells it is of.
        fields: how many microscope fields they come from; None where unknown: the interval is then the plain binomial
            one, which is too narrow if cells of a field are alike.
        effective: how many independent cells would be as informative.
    """

    value: float
    low: float
    high: float
    cells: int
    fields: int | None
    effective: float

    @property
    def method(self) -> str:
        """How the interval was made, in words."""
        if self.fields is None:
            return "binomial: fields unknown, too narrow if cells of a field are alike"
        return "clustered by field"


def share_of(called: ArrayLike, field: Sequence[str] | None = None) -> Proportion:
    """Share of cells that are called, with an interval that respects fields where they are known.

    With fields: the variance of the share between fields (ratio estimator, linearised) gives the number of independent
    cells that would be as informative; the exact binomial interval (Clopper & Pearson 1934) of so many is taken, with
    the correction for few fields of E. Korn and B. Graubard, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24 (1998). Never more than the cells
    themselves; where no field differs, a field counts as one cell, which is the worst case.

    Args:
        called: bool [N], N at least 1.
        field: field of each cell [N], None where unknown.
    """
    hit = np.asarray(called, dtype=bool)
    n, share = len(hit), float(hit.mean())
    if field is None:
        return Proportion(share, *exact_interval(share * n, n), n, None, float(n))
    _, unit = np.unique(np.asarray(field), return_inverse=True)
    size: NDArray[np.float64] = np.bincount(unit).astype(np.float64)
    hits: NDArray[np.float64] = np.bincount(unit, weights=hit).astype(np.float64)
    effective = _effective(hits, size)
    return Proportion(share, *exact_interval(share * effective, effective), n, len(size), effective)


def _effective(hits: NDArray[np.float64], size: NDArray[np.float64]) -> float:
    """Number of independent cells worth as much as these fields: ``hits`` of ``size`` cells each, [fields]."""
    n, fields = size.sum(), len(size)
    worst = float(n**2 / (size**2).sum())  # cells of a field all alike (Kish 1965)
    if fields == 1:
        return worst
    share = hits.sum() / n
    variance = fields / (fields - 1) * float(((hits - share * size) ** 2).sum()) / n**2
    if variance <= 0:
        return worst
    effective = float(share * (1 - share) / variance)
    if n > fields:  # fewer fields than cells: their variance is itself uncertain
        effective *= (t_quantile(0.975, int(n) - 1) / t_quantile(0.975, fields - 1)) ** 2
    return min(float(n), max(1.0, effective))


def exact_interval(hits: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Clopper-Pearson interval of ``hits`` in ``trials``, which need not be whole.

    >>> [round(end, 4) for end in exact_interval(0, 10)]
    [0.0, 0.3085]
    """
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else beta_quantile(tail, hits, trials - hits + 1)
    high = 1.0 if hits >= trials else beta_quantile(1 - tail, hits + 1, trials - hits)
    return low, high


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) / (a * _fraction(x, a, b))
    return 1 - math.exp(log_front) / (b * _fraction(1 - x, b, a))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)) of DLMF 8.17.22 by Lentz's method as modified by Thompson and Barnett (1986)."""
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, 1000):
        m = step // 2
        if step % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + factor * d or 1e-300)
        c = 1 + factor / c or 1e-300
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def beta_quantile(q: float, a: float, b: float) -> float:
    """Quantile of the beta distribution, by bisection.

    >>> round(beta_quantile(0.5, 2, 2), 12)
    0.5
    """
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < q else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=1024)
def t_quantile(q: float, freedom: int) -> float:
    """Quantile, q > 0.5, of Student's t distribution."""
    x = beta_quantile(2 * (1 - q), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


Statement = Literal["blasts likely", "blasts not seen", "refer", "too few cells", "withheld"]
MIN_CELLS = 20
MIN_JUDGED = 0.5  # share of the cells found that must have been judged: the others may be of another kind
MAX_WIDTH = 0.8  # an interval as wide as this says nothing
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
    upper = "no share is enough" if least is None else f"it takes {100 * least:.1f} % or more"
    lower = "no share is low enough" if most is None else f"less than {100 * most:.1f} %"
    return "refer", f"{told}; to say that blasts are likely, {upper}; to say that none were seen, {lower}"


def too_few_judged(judged: int, found: int) -> str | None:
    """Why nothing is stated of a patient most of whose cells could not be judged; None where enough were.

    The few that a gate lets through in pictures that it mostly refuses are those that look most like the training
    cells, and no sample of the patient's.

    >>> too_few_judged(3, 60)
    '3 of 60 cells found could be judged, fewer than half'
    """
    if judged >= MIN_JUDGED * found:
        return None
    return f"{judged} of {found} cells found could be judged, fewer than half"


def telling(share: Proportion | Corrected) -> bool:
    """Whether the interval says anything: 6 to 100 % does not."""
    return share.high - share.low < MAX_WIDTH


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


def subject_claim(facts: BundleFacts) -> str:
    """How subjects are stated, and what that did on patients left out of its fit."""
    rule = subject_rule(facts)
    if isinstance(rule, str):
        return f"Statements about subjects are withheld: {rule}."
    return f"{_limits(rule)} {_errors(rule)} {_SCOPE}"


_SCOPE = (
    "It knows patients whose cells were all labelled blast and people without any: one with few blasts among many "
    "normal cells may be referred or go unseen."
)


def _limits(rule: SubjectFacts) -> str:
    fitted = (
        f"{len(rule.groups_blast)} patient groups with blasts and {len(rule.groups_normal)} without of {rule.data} "
        f"({rule.protocol}), {rule.min_cells} cells each or more"
    )
    upper = (
        "blasts likely is never stated, so few patients cannot promise it"
        if rule.likely_from is None
        else f"blasts likely from {share(rule.likely_from)} of cells called blast, aimed at being wrong for at most "
        f"{share(rule.alarm_level)} of people without blasts"
    )
    lower = (
        "blasts not seen is never stated, so few patients cannot promise it"
        if rule.unlikely_below is None
        else f"blasts not seen below {share(rule.unlikely_below)}, aimed at at most {share(rule.missed_level)} of "
        "patients with blasts"
    )
    return f"Subjects: {upper}; {lower}; fitted on {fitted}."


def _errors(rule: SubjectFacts) -> str:
    told = [
        f"{each.protocol}: likely said of {_interval(each.alarmed)} of {each.groups_normal} groups without blasts, not "
        f"seen of {_interval(each.missed)} of {each.groups_blast} with, refer of {_interval(each.referred)}"
        for each in rule.errors
    ]
    return f"Measured with {'; '.join(told)}." if told else "Its errors were not measured."


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "an unknown share"
    ends = f" [{share(estimate.low)}, {share(estimate.high)}]" if estimate.has_interval else ""
    return f"{share(estimate.value)}{ends}"
