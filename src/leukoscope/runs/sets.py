"""The folder of an evaluation; several data sets measured together, and the figures of each apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from leukoscope.datasets.combine import parts_of
from leukoscope.datasets.dataset import Manifest
from leukoscope.files import together, write_json, write_text
from leukoscope.metrics.bootstrap import REPLICATES
from leukoscope.metrics.evaluation import Evaluation, evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.reports.evaluation import write_evaluation
from leukoscope.runs.measure import Measured
from leukoscope.tables import csv_text

SETS: Final = ("sets.json", "sets.csv")
COLUMNS = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1_weighted")


def by_set(
    scores: Scores, manifest: Manifest, threshold: float, provenance: Provenance, *, replicates: int = REPLICATES
) -> dict[str, Evaluation]:
    """The figures of each data set apart; empty where there is one only.

    Args:
        scores: answers on pictures of ``manifest``, all or some.
        manifest: what was measured.
        threshold: of the bundle.
        provenance: of the whole evaluation.
        replicates: of the bootstrap.
    """
    home = dict(zip((record.path for record in manifest.records), parts_of(manifest).tolist(), strict=True))
    part = np.array([home[path] for path in scores.path])
    names = np.unique(part).tolist()
    if len(names) < 2:
        return {}
    return {
        name: evaluate(
            scores.take(part == name),
            replace(provenance, data=name),
            threshold=threshold,
            replicates=replicates,
        )
        for name in names
    }


def write_figures(measured: Measured, sets: Mapping[str, Evaluation], folder: Path) -> None:
    """Write a report, and of several data sets sets.json and sets.csv, as one generation; see `files.together`.

    Args:
        measured: the evaluation and its answers.
        sets: of `by_set`.
        folder: of the report; made if absent.

    Raises:
        LeukoscopeError: the folder cannot be written; then nothing has changed.
    """
    with together(folder, gone=SETS) as place:
        write_evaluation(
            measured.evaluation, measured.scores, place, embeddings=measured.embeddings, wrong=measured.wrong
        )
        if sets:
            _write_sets(sets, place)


def _write_sets(sets: Mapping[str, Evaluation], folder: Path) -> None:
    """One row per data set and figure."""
    write_json(folder / SETS[0], {name: each.to_json() for name, each in sets.items()})
    rows = (
        (name, each.counts["pictures"], each.counts["groups"], key, *figure.to_json().values())
        for name, each in sets.items()
        for key, figure in each.metrics.items()
    )
    columns = ("set", "pictures", "groups", "figure", "value", "low", "high")
    write_text(folder / SETS[1], csv_text(columns, rows))


def set_line(name: str, evaluation: Evaluation) -> str:
    """One data set's figures on a line."""
    figures = ((key, evaluation.metrics[key]) for key in COLUMNS)
    told = [f"{key} {each.in_brackets()}" for key, each in figures if not math.isnan(each.value)]
    return f"{name}, {evaluation.counts['pictures']:,} pictures: {', '.join(told)}"
