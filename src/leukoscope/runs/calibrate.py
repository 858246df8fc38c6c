"""What is fitted after training: how logits become decisions, and which pictures are judged, each picture read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import GateFacts
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError
from leukoscope.fitting.decision import calibrate
from leukoscope.fitting.gate import GateCells, fit_gate
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.scores import Scores
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.measure import Answered, answers_of
from leukoscope.runs.run import Run

TRAINED = 1500  # pictures of groups trained on are enough: more move no limit, and each costs a pass through the graph


@dataclass(frozen=True, slots=True)
class Rules:
    """What was fitted.

    Attributes:
        decision: the bundle's own where nothing could be fitted.
        gate: None where none was asked for, or could be fitted.
        uncalibrated: why the decision stays as it was; None if it was fitted.
        ungated: why there is no gate; None if it was fitted, or not asked for.
        unreadable: pictures held out that gave no answer.
    """

    decision: DecisionFacts
    gate: GateFacts | None
    uncalibrated: DataError | None
    ungated: DataError | None
    unreadable: tuple[Answer, ...]


def fit_rules(
    classifier: Classifier,
    held_out: Manifest,
    *,
    trained: Manifest | None = None,
    left_out: Scores | None = None,
    gate: bool = True,
    progress: Progress = SILENT,
    **how: Any,
) -> Rules:
    """Fit decision and gate of a bundle, each picture read once for both.

    Args:
        classifier: of the bundle.
        held_out: pictures of patients that no weight was trained on; may be empty.
        trained: of patients trained on, for the gate alone; see `trained_sample`.
        left_out: answers to fit the decision on in place of those on ``held_out``.
        gate: whether one is wanted.
        progress: shows the passes over pictures.
        how: ``chose_epoch``, ``level``, ``confidence``, ``method`` of `leukoscope.fitting.decision.calibrate`.
    """
    decision, fitted = classifier.bundle.facts.decision, None
    uncalibrated = ungated = None
    parts: list[tuple[Answered, bool]] = []
    try:
        if left_out is None or len(held_out):
            with progress.stage("calibrating", len(held_out)) as done:
                # Where networks were left out, the bundle's own learned from these patients too.
                parts.append((answers_of(classifier, held_out, quality=gate, progress=done), left_out is None))
        scores = parts[0][0].scores if left_out is None else left_out
        decision = calibrate(scores, decision, data=held_out.name, **how)
    except DataError as error:
        uncalibrated = error
    unreadable = [answer for found, _ in parts for answer in found.unreadable]
    try:
        if gate and trained is not None and len(trained):
            with progress.stage("fitting the gate", len(trained)) as done:
                parts.append((answers_of(classifier, trained, quality=True, progress=done), False))
        fitted = fit_gate(gate_cells(parts), data=held_out.name) if gate else None
    except DataError as error:
        ungated = error
    return Rules(decision, fitted, uncalibrated, ungated, tuple(unreadable))


def fit_rules_of_run(
    run: Run,
    classifier: Classifier,
    *,
    left_out: Scores | None = None,
    gate: bool = True,
    progress: Progress = SILENT,
    **how: Any,
) -> Rules:
    """Fit decision and gate on a run's validation part, or where networks were left out on their answers.

    Args:
        run: trained.
        classifier: of its bundle.
        left_out: answers of networks that never saw the patient; None: those that the run kept, if any.
        gate: whether one is wanted; it is fitted on a sample of the training part too.
        progress: shows the passes over pictures.
        how: ``level``, ``confidence``, ``method`` of `leukoscope.fitting.decision.calibrate`.
    """
    left_out = left_out or run.left_out()
    sample = run.dataset.select(trained_sample(run.dataset, run.split.train)) if gate else None
    steered = left_out is None and run.recipe.steered_by_validation
    return fit_rules(
        classifier, run.part("val"), trained=sample, left_out=left_out, gate=gate, progress=progress,
        chose_epoch=steered, **how,
    )  # fmt: skip


def trained_sample(
    data: Manifest, trained: NDArray[np.int64], *, most: int = TRAINED, seed: int = 0
) -> NDArray[np.int64]:
    """Which pictures of patients trained on a gate is fitted on, as evenly over the groups as they allow.

    Args:
        data: labelled pictures.
        trained: rows of groups that the network was trained on.
        most: pictures.
        seed: of the draw.

    Returns:
        Rows int64 [N], rising.
    """
    group = data.groups()[trained]
    turn = np.empty(len(trained), dtype=np.int64)  # place in the shuffled queue of its group
    order = np.random.default_rng(seed).permutation(len(trained))
    for name in np.unique(group):
        queue = order[group[order] == name]
        turn[queue] = np.arange(len(queue))
    return np.sort(trained[order[np.argsort(turn[order], kind="stable")][:most]])


def gate_cells(parts: Sequence[tuple[Answered, bool]]) -> GateCells:
    """What a gate is fitted on.

    Args:
        parts: answers with what was measured of each picture, and whether no weight was trained on their patients.

    Raises:
        DataError: the pictures are too few, of one group, or the network gives no finite embedding for them.
    """
    values, stain, embedding, group, held, side = [], [], [], [], [], []
    for found, held_out in parts:
        for answer, of in zip(found.good, found.scores.group.tolist(), strict=True):
            if answer.quality is None or answer.embedding is None:
                continue
            values.append(list(answer.quality.values.values()))
            stain.append(answer.quality.stain)
            embedding.append(answer.embedding)
            group.append(of)
            held.append(held_out)
            side.append(answer.quality.side or 0)
    return GateCells(
        np.array(values, dtype=np.float64),
        np.array(stain, dtype=np.float64),
        np.array(embedding, dtype=np.float64),
        np.array(group, dtype=np.str_),
        np.array(held, dtype=np.bool_),
        np.array(side, dtype=np.int64),
    )
