"""From a table of answers to an evaluation: figures with intervals, curves, subjects, notes; and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.errors import DataError
from leukoscope.metrics import calibration, coverage
from leukoscope.metrics.bootstrap import LEVEL, REPLICATES, Estimate, Resampling, band
from leukoscope.metrics.calibration import Bins
from leukoscope.metrics.counts import Array
from leukoscope.metrics.glossary import BAND_KEYS, BY_KEY, KEYS
from leukoscope.metrics.panel import GRID, Panel, SubjectRow, measure, subject_rows, with_intervals, worst_subject
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores


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

    ``figures``: key of ``glossary.BAND_KEYS`` to figure with its interval over patient groups. ``worst_group``: the
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
    ``precision_recall``: precision against recall. ``worst``: see ``panel.worst_subject``.
    ``risk_coverage``: share decided wrongly against share decided, least sure referred first; ``missed_coverage``:
    share of blasts called normal against share decided, for bands that end at the threshold; ``referral``: what
    the bundle's own band did, None if it has none.
    ``provenance``: where the answers come from.
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
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON values; NaN becomes None. Single pictures are in ``predictions.csv``."""
        worst = None if self.worst is None else {"subject": self.worst.subject, "accuracy": self.worst.accuracy}
        bins = self.reliability.bins
        value = {
            "format": "leukoscope-evaluation",
            "format_version": 1,
            "context": self.provenance.to_json(),
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
            "audits": self.provenance.audits or [],
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


def evaluate(
    scores: Scores,
    provenance: Provenance,
    *,
    threshold: float,
    refer_from: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Measure a table of answers.

    Args:
        scores: the answers on pictures whose labels are known.
        provenance: where they come from.
        threshold: blast is called where probability >= threshold, in [0, 1]; it must not be chosen on these pictures.
        refer_from: below the threshold, pictures of at least this probability are referred; None if nothing is. The
            figures of ``metrics`` are those of the bare threshold all the same.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.

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
    metrics = with_intervals(KEYS, value, drawn[:, : len(KEYS)], plan)
    naive = measure(panel.figures, KEYS, Resampling.by_picture(scores.label, replicates=replicates, seed=seed))
    del naive["subject_auc"]  # a subject is no sum of pictures drawn apart
    rows = subject_rows(scores, threshold, refer_from)
    curves, reliability = _bands(panel, drawn[:, len(KEYS) :], known=plan.varies())
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
        provenance=provenance,
    )


def _bands(panel: Panel, drawn: Array, *, known: bool) -> tuple[list[Curve], Reliability]:
    """Curves and reliability with pointwise bands from their replicates, [R, 4 M + bins]: see ``Panel.everything``."""
    points = panel.points()
    value = panel.everything(np.ones(len(panel.scores)))[len(KEYS) :]
    low, high = band(drawn) if known else (np.full_like(value, np.nan), np.full_like(value, np.nan))
    cuts = len(GRID) * np.arange(1, len(points) + 1)
    *on_grid, bins = zip(*(np.split(each, cuts) for each in (value, low, high)), strict=True)
    curves = [Curve(x, y, *each) for (x, y), each in zip(points, on_grid, strict=True)]
    stated = calibration.equal_width(panel.scores.label, panel.scores.probability)
    return curves, Reliability(stated, bins[1], bins[2])


def _referral(scores: Scores, low: float, threshold: float, plan: Resampling) -> Referral:
    """What the band did, with intervals."""

    def figures(weights: Array) -> Array:
        return coverage.band_figures(scores.label, scores.probability, low, threshold, weights)

    found = measure(figures, BAND_KEYS, plan)
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
    if not plan.varies():
        notes.append("No kind of group has two members: nothing can be resampled, and no interval is given.")
    absent = [BY_KEY[key].title for key, each in metrics.items() if math.isnan(each.value)]
    if absent:
        notes.append(f"Undefined on these pictures: {', '.join(absent)}.")
    for key, each in metrics.items():
        if each.undefined and not math.isnan(each.value):
            title = BY_KEY[key].title
            notes.append(f"{title} is undefined in {each.undefined} of {len(drawn)} replicates, which were left out.")
    same = [
        f"{BY_KEY[key].title} {each.value:.3f}"
        for key, each in metrics.items()
        if math.isclose(each.low, each.high, abs_tol=1e-12)
    ]
    if same:
        notes.append(
            f"Every replicate gives {'; '.join(same)}. An interval without width says that no group differed, not that "
            "the figure is certain."
        )
    return tuple(notes)
