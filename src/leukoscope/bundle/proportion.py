"""A share of cells and how sure it is, where cells of one microscope field resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
