"""What a bundle's probabilities and its refusals promise, and what they do not, in sentences for people."""

from __future__ import annotations

from leukoscope.bundle.schema import DecisionFacts, ReferFacts
from leukoscope.data.whose import all_known, whose

UNCALIBRATED = "Probabilities are not calibrated: use them to rank cells, not as a chance."
_NAMES = {
    "platt": "slope and shift (Platt)",
    "beta": "beta calibration",
    "isotonic": "isotonic regression",
}


def calibration_claim(rule: DecisionFacts) -> str:
    """How the probabilities came about."""
    facts = rule.calibration
    if facts is None:
        fitted = f"Probabilities are calibrated (temperature {rule.temperature:.3g}); the bundle does not say on what."
        return fitted if rule.calibrated else UNCALIBRATED
    where = f"{facts.pictures:,} pictures of {whose(facts.groups)} of {facts.data}"
    twice = ", which also chose the epoch of the weights" if facts.chose_epoch else ""
    if not rule.calibrated:
        comma = "," if twice else ""
        return (
            f"{UNCALIBRATED} No map fitted on {where}{twice}{comma} was clearly better than the network's own numbers."
        )
    how = _NAMES.get(facts.method, f"temperature {rule.temperature:.3g}")
    return (
        f"Probabilities are calibrated by {how}, fitted on {where}{twice}. "
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
        return f"{head} {_same_patients(band, named=all_known(groups))}"
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
    sure = f"With {share(band.confidence)} confidence at most {share(band.level)} of blasts are called normal among"
    if not named:
        return (
            f"{sure} further cells of the same patients, if each was drawn by itself: whose they are is not known. "
            f"For new patients this is an aim and no promise: that takes {band.groups_needed} patients with blasts, "
            "known by name."
        )
    return (
        f"{sure} further cells of the very {band.groups} patient groups that the band was set on. For new patients "
        f"this is an aim and no promise: so few groups allow to promise {share(band.smallest_level)} at best, and "
        f"{share(band.level)} would need {band.groups_needed}."
    )
