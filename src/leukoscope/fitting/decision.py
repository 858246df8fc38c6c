"""From answers on held-out groups to the rule that a bundle decides by: its temperature, its threshold, its band.

The temperature T of sigmoid(z / T) is fitted by weighted log loss on logits z [N], labels y [N] and weights w [N] of
held-out pictures (C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On calibration of modern neural networks, ICML 2017). It
changes what is stated and never the order of the pictures. More flexible maps (Platt's, beta, isotonic) were measured
and were much worse on new patients (docs/probabilities.md): they learn the mix of classes of a handful of people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.decision import logit_at, probability_of, sigmoid
from leukoscope.bundle.schema import CalibrationFacts, DecisionFacts, Method, ReferFacts
from leukoscope.errors import DataError
from leukoscope.fitting.band import CONFIDENCE, LEVEL, find_limit
from leukoscope.fitting.folds import clearly_lower, deal_groups
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


ENOUGH_PICTURES = 20
METHODS: Mapping[Method, Fit] = {"as trained": lambda z, y, w: DecisionFacts(), "temperature": temperature}


@dataclass(frozen=True, slots=True)
class Choice:
    """The probabilities as a rule without threshold, how they came about, each way's log loss on left-out groups."""

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


def choose_temperature(scores: Scores, method: Method | None = None) -> Choice:
    """Fit the temperature, or leave the network as trained where that is not clearly worse.

    Each picture counts once. The temperature is taken if its log loss on left-out groups is lower by more than one
    standard error of the difference over groups (the rule of Breiman, Friedman, Olshen & Stone 1984). Groups are left
    out one by one, or in ten parts where there are more. With fewer than two groups of a class nothing can be compared
    and the network stays as trained.

    Args:
        scores: the calibration set.
        method: take this way whatever the comparison says.

    Raises:
        DataError: see ``check_calibration_set``; or blasts rank below normal cells; or no temperature fits.
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
        if clearly_lower(losses[name], losses[chosen]):
            chosen = name
    chosen = method or chosen
    rule = METHODS[chosen](scores.logit, scores.label.astype(np.float64), weights)
    if rule is None:
        raise DataError(
            "no temperature fits the calibration set: the classes may be apart, so nothing tells how sure is too sure",
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
    part = deal_groups(blasts)
    losses: dict[Method, Array] = {}
    for method in METHODS:
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
        confidence: of the weaker promise, in (0, 1); see `fitting.band`.
        method: how to fit the probabilities; None: see ``choose_temperature``.

    Raises:
        DataError: the pictures are too few or of one kind, or no temperature fits them.
    """
    choice = choose_temperature(scores, method)
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
