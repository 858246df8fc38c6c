"""From answers on held-out groups to the rule that a bundle decides by: probabilities, threshold, band."""

from __future__ import annotations

import math

import numpy as np

from leukoscope.bundle.decision import logit_at, probability_of
from leukoscope.bundle.schema import CalibrationFacts, DecisionFacts, Method, ReferFacts
from leukoscope.evaluation.choosing import choose_map
from leukoscope.evaluation.conformal import CONFIDENCE, LEVEL, find_limit
from leukoscope.evaluation.table import Scores
from leukoscope.evaluation.wording import natural


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
