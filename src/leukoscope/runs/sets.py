"""Several data sets measured together, and the figures of each apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from leukoscope.datasets.combine import parts_of
from leukoscope.datasets.dataset import Manifest
from leukoscope.files import write_json, write_text
from leukoscope.metrics.bootstrap import REPLICATES
from leukoscope.metrics.evaluation import Evaluation, evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.tables import csv_text

SETS_JSON, SETS_CSV = "sets.json", "sets.csv"
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


def write_sets(sets: Mapping[str, Evaluation], folder: Path) -> None:
    """Write sets.json and sets.csv: one row per data set and figure; remove older ones where there is one set only."""
    if not sets:
        for name in (SETS_JSON, SETS_CSV):
            (folder / name).unlink(missing_ok=True)
        return
    write_json(folder / SETS_JSON, {name: each.to_json() for name, each in sets.items()})
    rows = (
        (name, each.counts["pictures"], each.counts["groups"], key, *figure.to_json().values())
        for name, each in sets.items()
        for key, figure in each.metrics.items()
    )
    columns = ("set", "pictures", "groups", "figure", "value", "low", "high")
    write_text(folder / SETS_CSV, csv_text(columns, rows))


def set_line(name: str, evaluation: Evaluation) -> str:
    """One data set's figures on a line."""
    figures = ((key, evaluation.metrics[key]) for key in COLUMNS)
    told = [f"{key} {each.in_brackets()}" for key, each in figures if not math.isnan(each.value)]
    return f"{name}, {evaluation.counts['pictures']:,} pictures: {', '.join(told)}"
