"""From a logit to a probability, and from there to blast, normal or refer: the one place that does either."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.schema import DecisionFacts

Verdict = Literal["blast", "normal", "refer"]
_FARTHEST = 1e4  # no logit of a network is beyond it


def sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    """Logistic function of float64 [...], without overflow.

    >>> sigmoid([0.0, -1e4, 1e4]).tolist()
    [0.5, 0.0, 1.0]
    """
    value = np.asarray(x, dtype=np.float64)
    small = np.exp(-np.abs(value))
    return np.asarray(np.where(value >= 0, 1, small) / (1 + small))


def softplus(x: ArrayLike) -> NDArray[np.float64]:
    """``ln(1 + exp(x))``, which is ``-ln sigmoid(-x)``, without overflow; float64 [...]."""
    return np.asarray(np.logaddexp(0.0, np.asarray(x, dtype=np.float64)))


def probability_of(logit: ArrayLike, rule: DecisionFacts) -> NDArray[np.float64]:
    """Probability of blast that a bundle states for a logit, float64 [...] in [0, 1]; it never falls as logits rise."""
    z = np.asarray(logit, dtype=np.float64)
    how = rule.map
    if how is None:
        return sigmoid(z / rule.temperature)
    if how.method == "platt":
        slope, shift = how.parameters
        return sigmoid(slope * z + shift)
    if how.method == "beta":
        a, b, shift = how.parameters
        return sigmoid(-a * softplus(-z) + b * softplus(z) + shift)
    at, value = np.array(how.knots).T
    return np.asarray(np.interp(z, at, value))


def logit_at(probability: float, rule: DecisionFacts) -> float:
    """The lowest logit whose stated probability is at least ``probability``; infinite where there is none.

    >>> logit_at(0.5, DecisionFacts(temperature=3))
    0.0
    """
    if rule.map is None:
        if probability in {0.0, 1.0}:
            return -math.inf if probability == 0 else math.inf
        return rule.temperature * (math.log(probability) - math.log1p(-probability))
    low, high = -_FARTHEST, _FARTHEST
    if probability_of(low, rule) >= probability:
        return -math.inf
    if probability_of(high, rule) < probability:
        return math.inf
    while (middle := (low + high) / 2) not in {low, high}:
        low, high = (low, middle) if probability_of(middle, rule) >= probability else (middle, high)
    return high


def decide(probability: float, rule: DecisionFacts) -> tuple[Verdict, str | None]:
    """The decision, and for `refer` its reason.

    >>> decide(0.7, DecisionFacts(threshold=0.5))
    ('blast', None)
    """
    if probability >= rule.threshold:
        return "blast", None
    band = rule.refer
    if band is None or probability < band.low:
        return "normal", None
    return "refer", f"probability {probability:.3f} lies in the band {band.low:.3f} to {band.high:.3f}"
