"""What an evaluation holds, and how it becomes JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.evaluation.calibration import Bins
from leukoscope.evaluation.intervals import LEVEL, Estimate
from leukoscope.evaluation.panel import GRID
from leukoscope.evaluation.subjects import SubjectRow
from leukoscope.evaluation.weighting import Array

CONTEXT_KEYS = (
    "data",
    "fingerprint",
    "protocol",
    "fold",
    "seed",
    "model",
    "trained_on",
    "machine",
    "shortened",  # what was cut short, None if nothing; stamped on every figure
    "warning",  # shown at the top of the page
    "probabilities",  # how they were calibrated, in words
    "refer",  # what the band promises, in words
    "subjects",  # what the rule for subjects promises and did, in words
    "unreadable",  # number of pictures that gave no answer
    "audits",  # of the bundle: AuditFacts as plain JSON values; [] says that it was not audited
    "audit_pages",  # by kind of audit: address of its page, relative to the folder of the report
)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A stepped curve: all its points ``x``, ``y`` [T], and on ``GRID`` its value and 95 % band, each [101]."""

    x: Array
    y: Array
    on_grid: Array
    low: Array
    high: Array


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Bins of equal width, and the 95 % band of the share of blasts in each [bins]; NaN where a replicate has none."""

    bins: Bins
    low: Array
    high: Array


@dataclass(frozen=True, slots=True, eq=False)
class Referral:
    """What the band of a bundle did: normal below ``low``, referred from there to below the threshold.

    ``figures``: key of ``coverage.BAND_KEYS`` to figure with its interval over patient groups. ``worst_group``: the
    patient group with the largest share of blasts called normal, and that share; None without blasts.
    """

    low: float
    figures: Mapping[str, Estimate]
    worst_group: tuple[str, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What is known of a model on one test part.

    ``metrics``: key of ``glossary.TERMS`` to figure with its interval over patient groups. ``naive``: the same with the
    interval that a bootstrap over single pictures would give, to show how much narrower it wrongly is.
    ``confusion``: counts under the keys tn, fp, fn, tp. ``roc``: sensitivity against false positive rate;
    ``precision_recall``: precision against recall. ``worst``: see ``subjects.worst_subject``.
    ``risk_coverage``: share decided wrongly against share decided, least sure refused first; ``missed_coverage``: share
    of blasts called normal against share decided, for bands that end at the threshold; ``referral``: what the bundle's
    own band did, None if it has none.
    ``context``: where the answers come from; ``context["shortened"]`` is shown on every figure.
    """

    threshold: float
    metrics: Mapping[str, Estimate]
    naive: Mapping[str, Estimate]
    confusion: Mapping[str, int]
    counts: Mapping[str, int]
    subjects: tuple[SubjectRow, ...]
    worst: SubjectRow | None
    roc: Curve
    precision_recall: Curve
    risk_coverage: Curve
    missed_coverage: Curve
    reliability: Reliability
    referral: Referral | None
    replicates: int
    seed: int
    notes: tuple[str, ...]
    context: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as plain JSON values; NaN becomes None. Single pictures are in ``predictions.csv``."""
        worst = None if self.worst is None else {"subject": self.worst.subject, "accuracy": self.worst.accuracy}
        bins = self.reliability.bins
        value = {
            "format": "leukoscope-evaluation",
            "format_version": 1,
            "context": {key: each for key, each in self.context.items() if key != "audits"},
            "threshold": self.threshold,
            "counts": dict(self.counts),
            "metrics": {key: each.as_dict() for key, each in self.metrics.items()},
            "interval": {"level": LEVEL, "unit": "patient group", "replicates": self.replicates, "seed": self.seed},
            "naive_picture_intervals": {key: each.as_dict() for key, each in self.naive.items()},
            "confusion": dict(self.confusion),
            "worst_subject": worst,
            "subjects": [_row(row) for row in self.subjects],
            "roc": _curve(self.roc, "false_positive_rate", "sensitivity"),
            "precision_recall": _curve(self.precision_recall, "recall", "precision"),
            "risk_coverage": _curve(self.risk_coverage, "coverage", "risk"),
            "missed_coverage": _curve(self.missed_coverage, "coverage", "missed"),
            "referral": None if self.referral is None else _referral(self.referral),
            "reliability": {
                "pictures": bins.weight,
                "mean_probability": bins.mean_probability,
                "observed": bins.observed,
                "low": self.reliability.low,
                "high": self.reliability.high,
            },
            "audits": self.context.get("audits", []),
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = _plain(value)
        return plain


def _row(row: SubjectRow) -> dict[str, Any]:
    return {
        "subject": row.subject,
        "group": row.group,
        "n": row.n,
        "label": row.label,
        "blasts": row.blasts,
        "mean_probability": row.mean_probability,
        "called_blast": row.called_blast,
        "accuracy": row.accuracy,
        "brier": row.brier,
        "gap": row.gap,
        "referred": row.referred,
    }


def _referral(referral: Referral) -> dict[str, Any]:
    worst = referral.worst_group
    return {
        "low": referral.low,
        "figures": {key: each.as_dict() for key, each in referral.figures.items()},
        "worst_group": None if worst is None else {"group": worst[0], "missed": worst[1]},
    }


def _curve(curve: Curve, x: str, y: str) -> dict[str, Any]:
    return {x: GRID, y: curve.on_grid, "low": curve.low, "high": curve.high}


def _plain(value: Any) -> Any:
    """Tuples and arrays to lists, NumPy numbers to Python's, NaN and infinity to None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a name from a file system need not be valid UTF-8
        return value.encode("utf-8", "replace").decode()
    return value
