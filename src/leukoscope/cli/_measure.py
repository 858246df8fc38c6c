"""What `train` and `evaluate` share: run a bundle over labelled pictures and measure its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.bundle.schema import Estimate, MeasuredFacts
from leukoscope.data.manifest import Manifest
from leukoscope.errors import DataError
from leukoscope.evaluation.evaluate import Evaluation, evaluate
from leukoscope.evaluation.report import write_evaluation
from leukoscope.evaluation.table import Scores
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.prediction import Prediction

BATCH = 8  # more gains nothing on a CPU and costs memory


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation, its table, and the pictures that gave no answer."""

    evaluation: Evaluation
    scores: Scores
    unreadable: list[Prediction]


def measure(
    classifier: Classifier,
    data: Manifest,
    *,
    protocol: str,
    context: dict[str, Any],
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """Run a bundle over all pictures of a labelled manifest, through the same path as `predict`, and measure it.

    Raises:
        DataError: no picture can be read.
    """
    answers = list(classifier.predict_many(data.paths(), batch_size=BATCH, progress=progress))
    read = np.array([answer.logit is not None for answer in answers], dtype=np.bool_)
    unreadable = [answer for answer in answers if answer.logit is None]
    if not read.any():
        raise DataError("none of the pictures can be read", path=data.root, remedy=unreadable[0].error)
    kept = data.select(read)
    good = [answer for answer in answers if answer.logit is not None]
    scores = Scores(
        path=tuple(record.path for record in kept.records),
        label=kept.labels(),
        probability=np.array([answer.probability for answer in good], dtype=np.float64),
        logit=np.array([answer.logit for answer in good], dtype=np.float64),
        subject=kept.subjects(),
        group=kept.groups(),
    )
    if unreadable:
        context = {**context, "unreadable": len(unreadable)}
    evaluation = evaluate(
        scores, threshold=classifier.bundle.facts.decision.threshold, protocol=protocol, context=context
    )
    return Measured(evaluation, scores, unreadable)


def write_measured(measured: Measured, folder: Path) -> None:
    """Write metrics.json, predictions.csv, the figures and report.html."""
    write_evaluation(measured.evaluation, measured.scores, folder)


def measured_facts(measured: Measured, *, data: str, protocol: str, fold: int) -> MeasuredFacts:
    """What of an evaluation goes into a bundle."""
    return MeasuredFacts(
        data=data,
        protocol=protocol,
        fold=fold,
        pictures=len(measured.scores.path),
        groups=sorted(set(measured.scores.group.tolist())),
        metrics={key: Estimate(**each.as_dict()) for key, each in measured.evaluation.metrics.items()},
    )


def headline(evaluation: Evaluation) -> str:
    """The figures that a terminal shows, one a line."""
    lines = []
    for key in ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "ece"):
        ends = evaluation.metrics[key].as_dict()
        text = "undefined" if ends["value"] is None else f"{ends['value']:.3f}"
        if ends["low"] is not None and ends["high"] is not None:
            text += f"  [{ends['low']:.3f}, {ends['high']:.3f}]"
        lines.append(f"  {key:<18} {text}")
    return "\n".join(lines)
