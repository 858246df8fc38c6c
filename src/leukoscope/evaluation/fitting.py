"""Maps from logit to probability, fitted by weighted log loss: temperature, Platt, beta, isotonic.

Each is fitted on logits z [N], labels y [N] and weights w [N] of held-out pictures. They rise with the logit, so they
change what is stated and never the order of the pictures.

- Temperature: C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On calibration of modern neural networks, ICML 2017.
- Platt: J. Platt: Probabilistic outputs for support vector machines, 1999; a temperature and a shift, the latter for
  another mix of classes than the network was trained for.
- Beta: M. Kull, T. Silva Filho, P. Flach: Beta calibration, AISTATS 2017.
- Isotonic: B. Zadrozny, C. Elkan: Transforming classifier scores into accurate multiclass probability estimates, KDD
  2002, by pooling adjacent violators (Barlow et al. 1972).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from leukoscope.bundle.decision import sigmoid, softplus
from leukoscope.bundle.schema import DecisionFacts, MapFacts, Method
from leukoscope.evaluation.weighting import Array

Fit = Callable[[Array, Array, Array], DecisionFacts | None]


def log_loss(label: ArrayLike, probability: ArrayLike) -> Array:
    """Negative log likelihood of each picture, float64 [N]; probabilities are held 1e-15 away from 0 and 1."""
    stated = np.clip(np.asarray(probability, dtype=np.float64), 1e-15, 1 - 1e-15)
    return -np.log(np.where(np.asarray(label) == 1, stated, 1 - stated))


def temperature(z: Array, y: Array, w: Array) -> DecisionFacts | None:
    """Fit the temperature: the root of the derivative of the loss by 1/T, in which the loss is convex.

    None where no temperature is best: the logit does not rise with being a blast, or every picture is right at
    probability 0.5, so that nothing bounds how sure the model may be.
    """

    def slope(inverse: float) -> float:
        return float(w @ ((sigmoid(inverse * z) - y) * z))

    wrong = (z > 0) != (y == 1)
    if slope(0.0) >= 0 or not np.any(w[wrong] * np.abs(z[wrong]) > 0):
        return None
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in {low, high}:
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return DecisionFacts(temperature=1 / high)


def platt(z: Array, y: Array, w: Array) -> DecisionFacts | None:
    """Fit slope and shift; None where none is best or the slope would fall."""
    found = _logistic(np.stack([z, np.ones_like(z)], axis=1), y, w)
    if found is None or found[0] <= 0:
        return None
    return DecisionFacts(map=MapFacts(method="platt", parameters=found.tolist()))


def beta(z: Array, y: Array, w: Array) -> DecisionFacts | None:
    """Fit both slopes and the shift; a slope that would fall is held at 0, as in the paper; None where none is best."""
    columns = np.stack([-softplus(-z), softplus(z), np.ones_like(z)], axis=1)
    kept = [0, 1, 2]
    while (found := _logistic(columns[:, kept], y, w)) is not None and found[:-1].min(initial=np.inf) < 0:
        del kept[int(np.argmin(found[:-1]))]
    if found is None or len(kept) == 1:
        return None
    parameters = np.zeros(3)
    parameters[kept] = found
    return DecisionFacts(map=MapFacts(method="beta", parameters=parameters.tolist()))


def isotonic(z: Array, y: Array, w: Array) -> DecisionFacts | None:
    """Fit a rising map: blocks of adjacent violators, joined by lines between their middles; None if all is one block.

    Shares of 0 and 1 are drawn in to 1 / (N + 2) and its complement: no number of pictures shows that blasts are never.
    """
    order = np.argsort(z, kind="stable")
    at, first = np.unique(z[order], return_index=True)
    weight = np.add.reduceat(w[order], first)
    starts, share = adjacent_violators(np.add.reduceat((w * y)[order], first) / weight, weight)
    if len(starts) < 2:
        return None
    middle = np.add.reduceat(weight * at, starts) / np.add.reduceat(weight, starts)
    margin = 1 / (len(z) + 2)
    knots = list(zip(middle.tolist(), np.clip(share, margin, 1 - margin).tolist(), strict=True))
    return DecisionFacts(map=MapFacts(method="isotonic", knots=knots))


def adjacent_violators(value: Array, weight: Array) -> tuple[list[int], Array]:
    """The rising steps nearest to ``value`` [N] in weighted squares: where its blocks start, and their means."""
    blocks: list[tuple[int, float, float]] = []
    for row, (mean, mass) in enumerate(zip(value.tolist(), weight.tolist(), strict=True)):
        start, total, size = row, mean * mass, mass
        while blocks and blocks[-1][1] * size >= total * blocks[-1][2]:
            start, before, more = blocks.pop()
            total, size = total + before, size + more
        blocks.append((start, total, size))
    return [start for start, _, _ in blocks], np.array([total / size for _, total, size in blocks])


#: From the simplest to the most flexible.
FITS: Mapping[Method, Fit] = {"temperature": temperature, "platt": platt, "beta": beta, "isotonic": isotonic}


def _logistic(columns: Array, y: Array, w: Array) -> Array | None:
    """Coefficients [K] of a weighted logistic regression by Newton's method; None where they run off to infinity."""
    found = np.zeros(columns.shape[1])
    loss = np.inf
    for _ in range(200):
        margin = columns @ found
        stated = sigmoid(margin)
        gradient = columns.T @ (w * (stated - y))
        curve = columns.T @ (columns * (w * stated * (1 - stated))[:, None]) + 1e-12 * np.eye(len(found))
        step = np.linalg.solve(curve, gradient)
        if np.abs(step).max() <= 1e-9 * max(1.0, np.abs(found).max()):
            return found
        size = 1.0
        while True:  # a full step of Newton may overshoot; the slack is the rounding of the loss
            trial = columns @ (found - size * step)
            better = float(w @ (softplus(trial) - y * trial))
            if better <= loss + 1e-13:
                break
            size /= 2
            if size < 1e-8:
                return None
        found, loss = found - size * step, better
        if np.abs(found).max() > 1e6:
            return None
    return None
