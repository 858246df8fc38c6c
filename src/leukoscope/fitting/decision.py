"""Maps from logit to probability, fitted by weighted log loss: temperature, Platt, beta, isotonic.

Each is fitted on logits z [N], labels y [N] and weights w [N] of held-out pictures. They rise with the logit, so they
change what is stated and never the order of the pictures.

- Temperature: C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On calibration of modern neural networks, ICML 2017.
- Platt: J. Platt: Probabilistic outputs for support vector machines, 1999; a temperature and a shift, the latter for
  another mix of classes than the network was trained for.
- Beta: M. Kull, T. Silva Filho, P. Flach: Beta calibration, AISTATS 2017.
- Isotonic: B. Zadrozny, C. Elkan: Transforming classifier scores into accurate multiclass probability estimates, KDD
  2002, by pooling adjacent violators (Barlow et al. 1972).

From answers on held-out groups to the rule that a bundle decides by: probabilities, threshold, band.

Which map from logit to probability to take, judged on patient groups that its fit has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.decision import logit_at, probability_of, sigmoid, softplus
from leukoscope.bundle.schema import CalibrationFacts, DecisionFacts, MapFacts, Method, ReferFacts
from leukoscope.errors import DataError
from leukoscope.fitting.band import CONFIDENCE, LEVEL, find_limit
from leukoscope.metrics.bootstrap import FEW_GROUPS
from leukoscope.metrics.counts import Array
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores
from leukoscope.text import natural

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


ENOUGH_PICTURES = 20
FOLDS = 10
METHODS: Mapping[Method, Fit] = {"as trained": lambda z, y, w: DecisionFacts(), **FITS}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen map as a rule without threshold, its method, and the log loss of each method on left-out groups."""

    method: Method
    rule: DecisionFacts
    log_loss: dict[Method, float]


def check_calibration_set(scores: Scores) -> None:
    """Refuse a set on which nothing can be fitted that holds for anybody else.

    Raises:
        DataError: fewer than 20 pictures, one class only, or one patient group only.
    """
    where = f"the calibration set ({len(scores)} pictures)"
    if len(scores) < ENOUGH_PICTURES:
        raise DataError(f"{where} is too small", remedy=f"give {ENOUGH_PICTURES} cells or more, of several patients")
    for label, word, other in ((0, "normal cell", "healthy people"), (1, "blast", "patients with leukemia")):
        if not np.any(scores.label == label):
            raise DataError(f"{where} holds no {word}", remedy=f"add cells of {other}")
    if len(np.unique(scores.group)) < 2:
        raise DataError(f"{where} comes from one patient group", remedy="add cells of other patients")


def choose_map(scores: Scores, method: Method | None = None) -> Choice:
    """Fit a map: the one asked for, or the simplest that is not clearly worse than a more flexible one.

    Each picture counts once. From the network as trained over temperature, Platt and beta to isotonic, a more flexible
    map takes the place of a simpler one if its log loss on left-out groups is lower by more than one standard error of
    the difference over groups (the rule of Breiman, Friedman, Olshen & Stone 1984). Groups are left out one by one, or
    in ten parts where there are more. With fewer than two groups of a class nothing can be compared and the network
    stays as trained; with fewer than ten, only the temperature is tried: the other maps learn the mix of classes, which
    then is that of a handful of patients (measured: docs/trust.md).

    Args:
        scores: the calibration set.
        method: take this one whatever the comparison says.

    Raises:
        DataError: see ``check_calibration_set``; or blasts rank below normal cells; or the method does not fit.
    """
    check_calibration_set(scores)
    auc = float(roc_auc(Ranking.of(scores.label, scores.logit).sweep()))
    if auc <= 0.5:
        raise DataError(
            f"blasts of the calibration set rank below normal cells (AUC {auc:.3f})",
            remedy="check the labels, or train a better model",
        )
    weights = np.full(len(scores), 1 / len(scores))
    losses = _left_out(scores, weights)
    summed = {name: float(each.sum()) for name, each in losses.items()}
    chosen: Method = "as trained"
    for name in losses if method is None else ():
        if _clearly_better(losses[name], losses[chosen]):
            chosen = name
    chosen = method or chosen
    rule = METHODS[chosen](scores.logit, scores.label.astype(np.float64), weights)
    if rule is None:
        raise DataError(
            f"no map of the kind {chosen!r} fits the calibration set: the classes may be apart, so nothing tells "
            "how sure is too sure",
            remedy="calibrate on more patients",
        )
    return Choice(chosen, rule, summed)


def _left_out(scores: Scores, weights: Array) -> dict[Method, Array]:
    """Weighted log loss of each method by group [G], each group judged by fits without it; methods that always fit."""
    names, unit = np.unique(scores.group, return_inverse=True)
    blasts = np.bincount(unit, weights=scores.label) > 0
    normals = np.bincount(unit, weights=1 - scores.label) > 0
    fewest = min(blasts.sum(), normals.sum())
    if fewest < 2:
        return {}
    part = _parts(blasts)
    losses: dict[Method, Array] = {}
    for method in METHODS if fewest >= FEW_GROUPS else ("as trained", "temperature"):
        each = np.zeros(len(names))
        for left in np.unique(part):
            out = part[unit] == left
            rest = _rest(scores, weights, out)
            rule = METHODS[method](scores.logit[~out], scores.label[~out].astype(np.float64), rest)
            if rule is None:
                break
            loss = weights[out] * log_loss(scores.label[out], probability_of(scores.logit[out], rule))
            each += np.bincount(unit[out], weights=loss, minlength=len(names))
        else:
            losses[method] = each
    return losses


def _rest(scores: Scores, weights: Array, out: NDArray[np.bool_]) -> Array:
    """Weights of what is not left out, each class with its whole share: else the mix of classes would move."""
    rest = np.where(out, 0.0, weights)
    for each in (0, 1):
        of_class = scores.label == each
        rest[of_class] *= weights[of_class].sum() / rest[of_class].sum()
    return rest[~out]


def _parts(blasts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Part of each group, dealt out class by class, so that no part holds all groups of a class that has two."""
    order = np.concatenate([np.flatnonzero(blasts), np.flatnonzero(~blasts)])
    part = np.empty(len(blasts), dtype=np.int64)
    part[order] = np.arange(len(blasts)) % min(len(blasts), FOLDS)
    return part


def _clearly_better(first: Array, second: Array) -> bool:
    gain = second - first
    error = np.sqrt(len(gain) * gain.var(ddof=1))
    return bool(gain.sum() > error)


def calibrate(
    scores: Scores,
    rule: DecisionFacts,
    *,
    data: str,
    chose_epoch: bool,
    level: float = LEVEL,
    confidence: float = CONFIDENCE,
    method: Method | None = None,
) -> DecisionFacts:
    """Fit the probabilities, and set the band in which cells are referred.

    The threshold is moved along with the probabilities, so that no cell changes the side on which it stands: fitting
    changes what is stated, and which cells below the threshold are referred instead of called normal.

    Args:
        scores: answers of the bundle on labelled pictures of patients that it was not trained on.
        rule: the bundle's present rule.
        data: name of their data set, for the record.
        chose_epoch: the pictures also chose the epoch of the bundle's weights.
        level: share of blasts called normal that the band aims at, in (0, 1).
        confidence: of the weaker promise, in (0, 1); see ``conformal``.
        method: how to fit the probabilities; None: see ``choosing.choose_map``.

    Raises:
        DataError: the pictures are too few or of one kind, or the map does not fit them.
    """
    choice = choose_map(scores, method)
    at = logit_at(rule.threshold, rule)
    threshold = float(probability_of(at, choice.rule)) if math.isfinite(at) else rule.threshold
    blast = scores.label == 1
    limit = find_limit(scores.logit[blast], scores.group[blast], level=level, confidence=confidence, at_most=at)
    band: ReferFacts | None = None
    if not isinstance(limit, str):
        band = ReferFacts(
            low=threshold if limit.logit >= at else min(float(probability_of(limit.logit, choice.rule)), threshold),
            high=threshold,
            level=level,
            guarantee=limit.guarantee,
            confidence=confidence if limit.guarantee == "same patients" else None,
            groups=limit.groups,
            blasts=limit.blasts,
            missed=limit.missed,
            smallest_level=limit.smallest_level,
            groups_needed=limit.groups_needed,
        )
    return DecisionFacts(
        threshold=threshold,
        temperature=choice.rule.temperature,
        map=choice.rule.map,
        calibrated=choice.method != "as trained",
        calibration=CalibrationFacts(
            method=choice.method,
            data=data,
            groups=sorted(np.unique(scores.group).tolist(), key=natural),
            pictures=len(scores),
            blasts=int(blast.sum()),
            chose_epoch=chose_epoch,
            log_loss={str(name): loss for name, loss in choice.log_loss.items()},
        ),
        refer=band,
        no_refer=limit if isinstance(limit, str) else None,
    )
