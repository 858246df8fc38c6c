"""From a table of answers to an evaluation: figures with intervals, curves, subjects, notes; and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.errors import DataError
from leukoscope.metrics import calibration, coverage
from leukoscope.metrics.bootstrap import LEVEL, REPLICATES, Estimate, Resampling, band, estimates
from leukoscope.metrics.calibration import Bins
from leukoscope.metrics.counts import Array
from leukoscope.metrics.panel import BY_KEY, GRID, KEYS, Panel, SubjectRow, subject_rows, with_intervals, worst_subject
from leukoscope.metrics.scores import Scores

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

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON values; NaN becomes None. Single pictures are in ``predictions.csv``."""
        worst = None if self.worst is None else {"subject": self.worst.subject, "accuracy": self.worst.accuracy}
        bins = self.reliability.bins
        value = {
            "format": "leukoscope-evaluation",
            "format_version": 1,
            "context": {key: each for key, each in self.context.items() if key != "audits"},
            "threshold": self.threshold,
            "counts": dict(self.counts),
            "metrics": {key: each.to_json() for key, each in self.metrics.items()},
            "interval": {"level": LEVEL, "unit": "patient group", "replicates": self.replicates, "seed": self.seed},
            "naive_picture_intervals": {key: each.to_json() for key, each in self.naive.items()},
            "confusion": dict(self.confusion),
            "worst_subject": worst,
            "subjects": [_row(row) for row in self.subjects],
            "roc": _curve(self.roc, "false_positive_rate", "sensitivity"),
            "precision_recall": _curve(self.precision_recall, "recall", "precision"),
            "risk_coverage": _curve(self.risk_coverage, "coverage", "risk"),
            "missed_coverage": _curve(self.missed_coverage, "coverage", "missed"),
            "referral": None if self.referral is None else _referral_facts(self.referral),
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
        plain: dict[str, Any] = _json_value(value)
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


def _referral_facts(referral: Referral) -> dict[str, Any]:
    worst = referral.worst_group
    return {
        "low": referral.low,
        "figures": {key: each.to_json() for key, each in referral.figures.items()},
        "worst_group": None if worst is None else {"group": worst[0], "missed": worst[1]},
    }


def _curve(curve: Curve, x: str, y: str) -> dict[str, Any]:
    return {x: GRID, y: curve.on_grid, "low": curve.low, "high": curve.high}


def _json_value(value: Any) -> Any:
    """Tuples and arrays to lists, NumPy numbers to Python's, NaN and infinity to None."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_json_value(each) for each in value]
    if isinstance(value, np.generic):
        return _json_value(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a name from a file system need not be valid UTF-8
        return value.encode("utf-8", "replace").decode()
    return value


__all__ = ["Evaluation", "evaluate"]


def evaluate(
    scores: Scores,
    *,
    threshold: float,
    protocol: str,
    refer_from: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    context: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure a table of answers.

    Args:
        scores: the answers on pictures whose labels are known.
        threshold: blast is called where probability >= threshold, in [0, 1]; it must not be chosen on these pictures.
        refer_from: below the threshold, pictures of at least this probability are referred; None if nothing is. The
            figures of ``metrics`` are those of the bare threshold all the same.
        protocol: how test and training part were separated: group, subject, official, picture, or free words.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.
        context: further facts to show as plain JSON values, best under ``result.CONTEXT_KEYS``; ``seed`` there is that
            of the split, ``trained_on`` lists the groups trained on.

    Raises:
        DataError: the threshold is outside [0, 1], the band starts above it, or there are fewer than 100 replicates.
    """
    if not 0 <= threshold <= 1:
        raise DataError(f"threshold {threshold} is not in [0, 1]")
    if refer_from is not None and not 0 <= refer_from <= threshold:
        raise DataError(f"a band from {refer_from} does not end at the threshold {threshold}")
    if replicates < 100:
        raise DataError(f"{replicates} bootstrap replicates cannot give a 95 % interval", remedy="use 100 or more")
    panel = Panel.of(scores, threshold)
    plan = Resampling.by_group(scores.label, scores.group, replicates=replicates, seed=seed)
    drawn = plan.apply(panel.everything)
    value = panel.figures(np.ones(len(scores)))
    metrics = with_intervals(value, drawn[:, : len(KEYS)], scores, plan)
    naive_plan = Resampling.by_picture(scores.label, replicates=replicates, seed=seed)
    naive = dict(zip(KEYS, estimates(value, naive_plan.apply(panel.figures)), strict=True))
    del naive["subject_auc"]  # a subject is no sum of pictures drawn apart
    rows = subject_rows(scores, threshold, refer_from)
    curves, reliability = _bands(panel, drawn[:, len(KEYS) :], known=plan.varies)
    referral = None if refer_from is None else _referral(scores, refer_from, threshold, plan)
    called = scores.probability >= threshold
    quadrants = {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}
    return Evaluation(
        threshold=threshold,
        metrics=metrics,
        naive=naive,
        confusion={key: int(((scores.label == t) & (called == c)).sum()) for key, (t, c) in quadrants.items()},
        counts=_counts(scores, plan, rows),
        subjects=rows,
        worst=worst_subject(rows),
        roc=curves[0],
        precision_recall=curves[1],
        risk_coverage=curves[2],
        missed_coverage=curves[3],
        reliability=reliability,
        referral=referral,
        replicates=replicates,
        seed=seed,
        notes=_notes(plan, metrics, drawn),
        context={**(context or {}), "protocol": protocol},
    )


def _bands(panel: Panel, drawn: Array, *, known: bool) -> tuple[list[Curve], Reliability]:
    """Curves and reliability with pointwise bands from their replicates, [R, 4 M + bins]: see ``Panel.everything``."""
    sweep = panel.order.sweep()
    points = (
        (sweep.false_positive_rate, sweep.sensitivity),
        (sweep.sensitivity, sweep.precision),
        panel.selection.curve(),
        panel.descent.curve(),
    )
    value = panel.everything(np.ones(len(panel.scores)))[len(KEYS) :]
    low, high = band(drawn) if known else (np.full_like(value, np.nan), np.full_like(value, np.nan))
    cuts = len(GRID) * np.arange(1, len(points) + 1)
    *on_grid, bins = zip(*(np.split(each, cuts) for each in (value, low, high)), strict=True)
    curves = [Curve(x, y, *each) for (x, y), each in zip(points, on_grid, strict=True)]
    stated = calibration.equal_width(panel.scores.label, panel.scores.probability)
    return curves, Reliability(stated, bins[1], bins[2])


def _referral(scores: Scores, low: float, threshold: float, plan: Resampling) -> Referral:
    """What the band did, with intervals; a figure of one class that rests on one group gets none."""

    def figures(weights: Array) -> Array:
        return coverage.band_figures(scores.label, scores.probability, low, threshold, weights)

    found = dict(zip(coverage.BAND_KEYS, estimates(figures(np.ones(len(scores))), plan.apply(figures)), strict=True))
    for key, each in found.items():
        of_class = coverage.BAND_CLASS[key]
        groups = scores.group if of_class is None else scores.group[scores.label == of_class]
        if not plan.varies or len(np.unique(groups)) < 2:
            found[key] = Estimate(each.value, math.nan, math.nan, each.undefined)
    missed = (scores.label == 1) & (scores.probability < min(low, threshold))
    names, unit = np.unique(scores.group, return_inverse=True)
    blasts = np.bincount(unit, weights=scores.label)
    share = np.where(blasts > 0, np.bincount(unit, weights=missed) / np.maximum(blasts, 1), -1.0)
    worst = int(np.argmax(share))
    return Referral(low, found, (str(names[worst]), float(share[worst])) if blasts[worst] else None)


def _counts(scores: Scores, plan: Resampling, rows: tuple[SubjectRow, ...]) -> dict[str, int]:
    blast = scores.label == 1
    groups = {f"{name.replace('-', '_')}_groups": size for name, size in plan.sizes.items()}
    return {
        "pictures": len(scores),
        "blasts": int(blast.sum()),
        "normals": int((~blast).sum()),
        "subjects": len(rows),
        **plan.counts,
        **groups,
    }


def _notes(plan: Resampling, metrics: Mapping[str, Estimate], drawn: Array) -> tuple[str, ...]:
    notes = list(plan.notes)
    if not plan.varies:
        notes.append("No kind of group has two members: nothing can be resampled, and no interval is given.")
    absent = [BY_KEY[key].title for key, each in metrics.items() if math.isnan(each.value)]
    if absent:
        notes.append(f"Undefined on these pictures: {', '.join(absent)}.")
    for key, each in metrics.items():
        title = BY_KEY[key].title
        if each.undefined and not math.isnan(each.value):
            notes.append(f"{title} is undefined in {each.undefined} of {len(drawn)} replicates, which were left out.")
        if math.isclose(each.low, each.high, abs_tol=1e-12):
            notes.append(
                f"{title}: every replicate gives {each.value:.3f}. An interval without width says that no group "
                f"differed, not that the figure is certain."
            )
    return tuple(notes)
