"""What a bundle's rule for subjects promises and what it does not, in sentences for people."""

from __future__ import annotations

from leukoscope.bundle.aggregation import subject_rule
from leukoscope.bundle.claims import share
from leukoscope.bundle.schema import BundleFacts, Estimate, SubjectFacts


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
    if estimate.value is None:
        return "an unknown share"
    ends = "" if estimate.low is None or estimate.high is None else f" [{share(estimate.low)}, {share(estimate.high)}]"
    return f"{share(estimate.value)}{ends}"
