"""A bundle's gate at work: an answer for a picture that it turns down becomes `refer`, with the reasons in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from leukoscope.bundle.gate import Finding, Gate
from leukoscope.inference.phrases import LANGUAGES
from leukoscope.inference.prediction import Prediction

MOST_REASONS = 3
#: How values and limits are written, by measure.
_WRITTEN = {
    "diameter": "{:.0f}", "contrast": "{:.0f}", "brightness": "{:.0f}", "stain_distance": "{:.1f}",
    "embedding_distance": "{:.1f}", "nuclear_stain": "{:.2f}", "sharpness": "{:.1f}",
}  # fmt: skip
_OTHERS = "{:.2f}"


def gated(answer: Prediction, gate: Gate) -> Prediction:
    """The answer after the gate.

    Where the picture is turned down, the decision is `refer` and the reason names what was found; probability and logit
    stay, for those who want to know what the network said of it. A reason that the answer had already comes last.

    Args:
        answer: for a readable picture, with its ``quality`` and its ``embedding``.
        gate: of the bundle.

    Raises:
        BundleError: the embedding has another size than the gate was fitted on.
    """
    assert answer.quality is not None
    assert answer.embedding is not None
    verdict = gate.check(answer.quality.values, answer.quality.stain, answer.embedding)
    score = verdict.score if math.isfinite(verdict.score) else None
    if not verdict.findings:
        return replace(answer, gate="passed", gate_score=score)
    reason = in_words(verdict.findings)
    return replace(
        answer,
        decision="refer",
        reason=reason if answer.reason is None else f"{reason}; {answer.reason}",
        gate="turned down",
        findings=verdict.findings,
        gate_score=score,
    )


def in_words(findings: Sequence[Finding], *, language: str = "en") -> str:
    """Why a picture was turned down, the worst first, at most `MOST_REASONS`.

    Args:
        findings: at least one, the worst first.
        language: a key of `phrases.LANGUAGES`.

    >>> in_words([Finding("blurred", "sharpness", -3.25, -2.5)])
    'the picture is not fit to be judged: it is blurred (sharpness -3.2, usual from -2.5)'
    """
    phrases = LANGUAGES[language]
    told = [_told(finding, language) for finding in findings[:MOST_REASONS]]
    return phrases["turned down"].format(reasons=phrases["comma"].join(told))


def _told(finding: Finding, language: str) -> str:
    phrases = LANGUAGES[language]
    if finding.value is None:
        return phrases["gate unknown"].format(measure=finding.measure.replace("_", " "))
    form = _WRITTEN.get(finding.measure, _OTHERS)
    value, limit = form.format(finding.value), form.format(finding.limit)
    return phrases[f"gate {finding.reason}"].format(v=value, limit=limit)
