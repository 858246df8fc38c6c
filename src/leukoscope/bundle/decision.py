"""From a logit to a probability, and from there to blast, normal or refer; and the sentences on what both promise."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.schema import DecisionFacts, ReferFacts
from leukoscope.datasets.patients import Patients

Verdict = Literal["blast", "normal", "refer"]


def sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    """Logistic function of float64 [...], without overflow.

    >>> sigmoid([0.0, -1e4, 1e4]).tolist()
    [0.5, 0.0, 1.0]
    """
    value = np.asarray(x, dtype=np.float64)
    small = np.exp(-np.abs(value))
    return np.asarray(np.where(value >= 0, 1, small) / (1 + small))


def probability_of(logit: ArrayLike, rule: DecisionFacts) -> NDArray[np.float64]:
    """Probability of blast that a bundle states for a logit, float64 [...] in [0, 1]; it never falls as logits rise."""
    return sigmoid(np.asarray(logit, dtype=np.float64) / rule.temperature)


def logit_at(probability: float, rule: DecisionFacts) -> float:
    """The lowest logit whose stated probability is at least ``probability``; infinite for 0 and 1.

    >>> logit_at(0.5, DecisionFacts(temperature=3))
    0.0
    """
    if probability in {0.0, 1.0}:
        return -math.inf if probability == 0 else math.inf
    return rule.temperature * (math.log(probability) - math.log1p(-probability))


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


def decided_at(threshold: float, rule: DecisionFacts) -> DecisionFacts:
    """The rule with a threshold that was set by hand: its band ended at the old one, and is gone."""
    why = "the threshold was set by hand after the band" if rule.refer else rule.no_refer
    return rule.model_copy(update={"threshold": threshold, "refer": None, "no_refer": why})


UNCALIBRATED = "Probabilities are not calibrated: use them to rank cells, not as a chance."


def calibration_claim(rule: DecisionFacts) -> str:
    """How the probabilities came about."""
    facts = rule.calibration
    if facts is None:
        fitted = f"Probabilities are calibrated (temperature {rule.temperature:.3g}); the bundle does not say on what."
        return fitted if rule.calibrated else UNCALIBRATED
    where = f"{facts.pictures:,} pictures of {Patients.of(facts.groups).words()} of {facts.data}"
    twice = ", which also chose the epoch of the weights" if facts.chose_epoch else ""
    if not rule.calibrated:
        comma = "," if twice else ""
        return (
            f"{UNCALIBRATED} No map fitted on {where}{twice}{comma} was clearly better than the network's own numbers."
        )
    return (
        f"Probabilities are calibrated by temperature {rule.temperature:.3g}, fitted on {where}{twice}. "
        "They hold for the mix of classes there, "
        f"{share(facts.blasts / facts.pictures)} blasts."
    )


def refer_claim(rule: DecisionFacts) -> str:
    """What is referred and what that promises; empty where nobody asked for a band."""
    band = rule.refer
    if band is None:
        return f"No cell is referred: {rule.no_refer}." if rule.no_refer else ""
    head = f"Refer where the probability is {band.low:.3f} or more and below {band.high:.3f}."
    if band.guarantee == "same patients":
        groups = [] if rule.calibration is None else rule.calibration.groups
        return f"{head} {_same_patients(band, named=Patients.of(groups).all_known)}"
    twice = rule.calibration is not None and rule.calibration.chose_epoch
    nearly = " These groups also chose the epoch of the weights, so this holds only nearly." if twice else ""
    return (
        f"{head} On average over new patients like the {band.groups} groups that the band was set on, at most "
        f"{share(band.level)} of a patient's blasts are called normal (conformal risk control).{nearly}"
    )


def share(value: float) -> str:
    """A share of 1 as a percentage of at most three digits.

    >>> share(0.01), share(1 / 6)
    ('1 %', '16.7 %')
    """
    return f"{100 * value:.3g} %"


def _same_patients(band: ReferFacts, *, named: bool) -> str:
    assert band.confidence is not None
    sure = f"{share(band.confidence)} confidence"
    most = f"at most {share(band.level)} of the blasts are called normal"
    if not named:
        return (
            f"Among more cells of the same patients {most} ({sure}), if each cell was drawn by itself: whose they are "
            f"is not known. For new patients nothing is promised: that takes {band.groups_needed} patients with "
            "blasts, known by name."
        )
    return (
        f"The band was set on {band.groups} patient groups; among more cells of theirs {most} ({sure}). For new "
        f"patients that is the aim, and nothing is promised: with {band.groups} groups the best promise would be "
        f"{share(band.smallest_level)}, and {share(band.level)} takes {band.groups_needed} groups."
    )
