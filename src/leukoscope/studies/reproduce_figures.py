"""Figures of the reproduction: test parts pooled over folds, paired falls on the same cells, parts of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import read_bundle
from leukoscope.data.manifest import Manifest
from leukoscope.data.splits import Split
from leukoscope.evaluation.compare import compare
from leukoscope.evaluation.glossary import KEYS
from leukoscope.evaluation.intervals import REPLICATES, Estimate, Resampling
from leukoscope.evaluation.panel import Panel, with_intervals
from leukoscope.evaluation.table import Scores
from leukoscope.inference.classifier import Classifier
from leukoscope.studies.measuring import table_of
from leukoscope.studies.outcome import Outcome, measured_at, studied

HALF = 0.5
SHOWN = ("accuracy", "auc", "precision_blast", "sensitivity", "specificity", "f1_blast", "f1_weighted")
PART_CELLS = 1000  # of a training or validation part: enough to tell its accuracy


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The answers of one network in one arm.

    Attributes:
        scores: all finished test parts; probabilities are moved so that 0.5 is each fold's own threshold.
        folds: which folds are in.
        shortened: what was cut short or changed against the recipe, None if nothing.
        machine: what trained it.
    """

    scores: Scores
    folds: tuple[int, ...]
    shortened: str | None
    machine: str


def pooled(outcomes: Sequence[Outcome]) -> Pooled:
    """The runs of one entry put together; each cell is judged by the network whose fold left it out.

    Raises:
        LeukoscopeError: a run is damaged, or two of them were tested on the same cells.
    """
    tables, folds, shortened, machines = [], [], [], []
    for outcome in outcomes:
        found = outcome.scores()
        tables.append(replace(found, probability=recentred(found.probability, measured_at(outcome.folder)[0])))
        folds.append(outcome.row.fold or 0)
        training = read_bundle(outcome.bundle).facts.training
        assert training is not None
        shortened.append(training.shortened)
        machines.append(training.machine)
    scores = Scores(
        path=tuple(path for table in tables for path in table.path),
        **{
            key: np.concatenate([getattr(table, key) for table in tables])
            for key in ("label", "probability", "logit", "subject", "group")
        },
    )
    told = [each for each in dict.fromkeys(shortened) if each]
    return Pooled(scores, tuple(folds), "; ".join(told) or None, "; ".join(dict.fromkeys(machines)))


def recentred(probability: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Move probabilities so that what is at or above the threshold is at or above 0.5, order kept.

    >>> recentred(np.array([0.0, 0.1, 0.2, 1.0]), 0.2)
    array([0.  , 0.25, 0.5 , 1.  ])
    """
    if threshold <= 0:
        return HALF + HALF * probability
    above = HALF + HALF * (probability - threshold) / max(1 - threshold, 1e-12)
    return np.where(probability >= threshold, np.clip(above, HALF, 1.0), HALF * probability / threshold)


def figures(scores: Scores, *, replicates: int = REPLICATES, by_picture: bool = False) -> dict[str, Estimate]:
    """All figures at 0.5 with intervals over patient groups, or over single pictures to show how narrow they are."""
    panel = Panel.of(scores, HALF)
    draw = Resampling.by_picture if by_picture else None
    plan = (
        draw(scores.label, replicates=replicates)
        if draw
        else Resampling.by_group(scores.label, scores.group, replicates=replicates)
    )
    return with_intervals(panel.figures(np.ones(len(scores))), plan.apply(panel.figures), scores, plan)


def differences(
    first: Scores, second: Scores, keys: Sequence[str] = ("accuracy", "auc"), *, replicates: int = REPLICATES
) -> tuple[dict[str, Estimate], dict[str, tuple[float, float]], int] | None:
    """Second minus first on the cells that both judged, paired over patients; both values, and how many cells.

    Returns:
        None where no cell of either class is shared.
    """
    place = {path: row for row, path in enumerate(first.path)}
    shared = [path for path in second.path if path in place]
    mine = first.take([place[path] for path in shared])
    theirs = second.take([row for row, path in enumerate(second.path) if path in place])
    if len(set(mine.label.tolist())) < 2:
        return None
    rows = {row.key: row for row in compare(mine, theirs, thresholds=(HALF, HALF), replicates=replicates)}
    values = {key: (rows[key].first, rows[key].second) for key in keys}
    return {key: rows[key].difference for key in keys}, values, len(shared)


def part_figures(outcome: Outcome, manifest: Manifest, part: str) -> tuple[dict[str, Estimate], int]:
    """Figures of a run's bundle on `PART_CELLS` random cells at most of its part ``train`` or ``val``, and how many."""
    row = outcome.row
    data, _ = studied(manifest, row.limit, row.to_recipe().seed)
    split = Split.from_dict(json.loads((outcome.folder / "split.json").read_text(encoding="utf-8")), data)
    index = getattr(split, part)
    if len(index) > PART_CELLS:  # drawn over pictures: a sample that evens out patients would have another accuracy
        index = np.sort(np.random.default_rng(0).choice(index, PART_CELLS, replace=False))
    cells = data.select(index)
    bundle = read_bundle(outcome.bundle)
    scores, _ = table_of(Classifier(bundle), cells)
    moved = replace(scores, probability=recentred(scores.probability, bundle.facts.decision.threshold))
    return figures(moved), len(scores)


def as_plain(found: dict[str, Estimate], keys: Sequence[str] = KEYS) -> dict[str, Any]:
    """Estimates as JSON values."""
    return {key: found[key].as_dict() for key in keys if key in found}
