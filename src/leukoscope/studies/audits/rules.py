"""Verdicts by written rules: what was asked, what was found, and whether that passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from leukoscope.bundle.audits import RuleFacts
from leukoscope.metrics.bootstrap import Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What every audit comes out with.

    Attributes:
        rules: the verdict's.
        counts: cells, blasts among them, groups.
        notes: to be read before quoting a figure.
        context: what the figures were made with.
    """

    rules: tuple[RuleFacts, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "context": self.context,
            "counts": self.counts,
            "rules": [rule.model_dump() for rule in self.rules],
            "notes": list(self.notes),
        }


def judged(key: str, asked: str, found: str, holds: bool | None) -> RuleFacts:
    """A rule that holds, does not, or (None) could not be measured."""
    outcome: Literal["passes", "fails", "not measured"] = (
        "not measured" if holds is None else "passes" if holds else "fails"
    )
    return RuleFacts(key=key, asked=asked, found=found, outcome=outcome)


def verdict_from(rules: Sequence[RuleFacts]) -> tuple[bool, str]:
    """Whether all rules that could be measured hold, and a sentence that names those that do not.

    >>> verdict_from([judged("size", "It is small.", "0.3", False), judged("age", "It is old.", "9", True)])
    (False, 'FAILS 1 of 2 rules: size')
    """
    failed = [rule.title for rule in rules if rule.outcome == "fails"]
    missing = [rule.title for rule in rules if rule.outcome == "not measured"]
    known = len(rules) - len(missing)
    tail = f"; not measured: {', '.join(missing)}" if missing else ""
    if failed:
        return False, f"FAILS {len(failed)} of {known} rules: {', '.join(failed)}{tail}"
    if not known:
        return False, f"FAILS: no rule could be measured{tail}"
    return True, f"passes all {known} rules{tail}"


def mean_estimates(columns: Mapping[str, Array], plan: Resampling) -> dict[str, Estimate]:
    """Mean of each column over the pictures, with its interval over patient groups.

    Args:
        columns: float64 [N] each; NaN where a picture has no value, which leaves it out of that mean.
        plan: of the draws.
    """
    table = np.stack(list(columns.values()), axis=1)  # [N, K]
    present = np.isfinite(table)
    filled = np.where(present, table, 0.0)

    def means(weights: Array) -> Array:
        return ratio(weights @ filled, weights @ present.astype(np.float64))

    return measure(means, columns, plan)


def bracket(each: Estimate) -> str:
    """A figure with its interval: ``0.412 [0.380, 0.441]``."""
    return each.in_brackets(unknown=" [unknown]")


def low_end(each: Estimate) -> float:
    """The lower end, or the value where there is no interval; NaN where undefined."""
    return each.value if math.isnan(each.low) else each.low


def above(each: Estimate, least: float) -> bool | None:
    """Whether the lower end is above ``least``; None where undefined."""
    return None if math.isnan(each.value) else bool(low_end(each) > least)
