"""Which map from logit to probability to take, judged on patient groups that its fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.schema import DecisionFacts, Method
from leukoscope.errors import DataError
from leukoscope.evaluation.fitting import FITS, Fit, log_loss
from leukoscope.evaluation.intervals import FEW_GROUPS
from leukoscope.evaluation.ranking import Ranking, roc_auc
from leukoscope.evaluation.table import Scores
from leukoscope.evaluation.weighting import Array

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
