"""Morphology of C-NMC 2019 cells: the percentiles that the package ships, and how well each measurement tells blasts.

Run: python benchmarks/morphology.py --data DIR [--per-group 60] [--out docs/figures/morphology.json]
     [--reference src/leukoscope/inference/reference_cnmc2019.json] [--table FILE.csv]
At most --per-group cells of each patient group and class are measured, and each group has the same weight, so that no
patient with many pictures dominates. Intervals are from a bootstrap over patient groups. The same cells are measured at
full resolution too: rank correlation of each measurement with that at the resolution in use, and its AUC there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from _common import Needed, command_line, report
from leukoscope.cells.cutout import cutout_of_frame, view
from leukoscope.cells.frame import frame_cell
from leukoscope.cells.measure import UNITS, measure, significant
from leukoscope.cells.read import read_picture
from leukoscope.cells.segment import divide
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json, write_text
from leukoscope.inference.morphology import CLASSES, POINTS
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Resampling, estimates
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.tables import csv_text

Floats = NDArray[np.float64]
LEAST = 50  # cells of a class in which a measurement must be defined to be part of the reference


def sample(manifest: Manifest, per_group: int, seed: int) -> Manifest:
    """At most ``per_group`` pictures of each patient group and class, drawn at random."""
    data = manifest.labelled()
    labels, groups = data.labels(), data.groups()
    random = np.random.default_rng(seed)
    chosen = []
    for group in np.unique(groups):
        for label in (0, 1):
            members = np.flatnonzero((groups == group) & (labels == label))
            chosen.append(random.choice(members, min(per_group, len(members)), replace=False))
    return data.select(np.sort(np.concatenate(chosen)))


def measured(data: Manifest) -> tuple[Floats, Floats, dict[str, float]]:
    """Measurements float64 [N, M], NaN where undefined; at full resolution; median processor time of the steps."""
    rows, whole, times = [], [], []
    for path in data.paths():
        cell = cutout_of_frame(frame_cell(read_picture(path).rgb))
        start = time.process_time()
        parts = divide(view(cell))
        between = time.process_time()
        values = measure(parts).values
        times.append((1e3 * (between - start), 1e3 * (time.process_time() - between)))
        rows.append(numbers(values))
        whole.append(numbers(measure(divide(view(cell, 1))).values))
    step = [statistics.median(column) for column in zip(*times, strict=True)]
    spent = {"segment_ms": round(step[0], 2), "measure_ms": round(step[1], 2)}
    return np.array(rows, np.float64), np.array(whole, np.float64), spent


def numbers(values: Mapping[str, float | None]) -> list[float]:
    """Measurements in the order of `UNITS`, NaN where undefined."""
    return [np.nan if (value := values[name]) is None else value for name in UNITS]


def agreement(values: Floats, whole: Floats) -> dict[str, float]:
    """Rank correlation (Spearman) of one measurement with that at full resolution, and the cells defined in both."""
    both = ~np.isnan(values) & ~np.isnan(whole)
    if both.sum() < LEAST:
        return {"cells": int(both.sum())}
    found = spearmanr(values[both], whole[both]).statistic
    return {"cells": int(both.sum()), "rank_correlation": round(float(found), 4)}


def group_weights(labels: NDArray[np.int64], groups: NDArray[Any]) -> Floats:
    """Weights [N] that sum to 1 for each group within each class."""
    names = np.array([f"{label}/{group}" for label, group in zip(labels, groups, strict=True)])
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[place], np.float64)


def quantiles(values: Floats, weights: Floats) -> list[float]:
    """Weighted quantiles at 0 %, 1 %, ..., 100 %: each value stands at the middle of its weight."""
    order = np.argsort(values, kind="stable")
    ranked, share = values[order], weights[order] / weights.sum()
    place = np.cumsum(share) - share / 2
    found = np.interp(np.linspace(0, 1, POINTS), place, ranked)
    if np.unique(values).size <= 20:  # counts: no values between them
        found = ranked[np.minimum(np.searchsorted(np.cumsum(share), np.linspace(0, 1, POINTS) - 1e-9), len(ranked) - 1)]
    return [significant(float(value)) for value in np.maximum.accumulate(found)]


def describe(values: Floats, labels: NDArray[np.int64], groups: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reference and separation of one measurement."""
    defined = ~np.isnan(values)
    entry: dict[str, Any] = {}
    for label, kind in enumerate(CLASSES):
        chosen = defined & (labels == label)
        weights = group_weights(labels[labels == label], groups[labels == label])
        share = float(weights[defined[labels == label]].sum() / weights.sum())
        entry[kind] = {"cells": int(chosen.sum()), "groups": len(set(groups[chosen])), "defined": round(share, 3)}
        if chosen.sum() >= LEAST:
            entry[kind]["quantiles"] = quantiles(values[chosen], weights[defined[labels == label]])
    figures: dict[str, Any] = {kind: {k: v for k, v in entry[kind].items() if k != "quantiles"} for kind in CLASSES}
    if not all("quantiles" in entry[kind] for kind in CLASSES):
        return {}, figures
    for kind in CLASSES:
        q = entry[kind]["quantiles"]
        figures[kind] |= {"q10": q[10], "median": q[50], "q90": q[90]}
    truth, group = labels[defined], groups[defined]
    ranking = Ranking.of(truth, values[defined])
    base = group_weights(truth, group)

    def auc(weights: Floats) -> Floats:
        return roc_auc(ranking.sweep(weights * base))

    replicates = Resampling.by_group(truth, group, replicates=1000).apply(auc)
    figures["auc"] = estimates(np.atleast_1d(auc(np.ones(len(truth)))), replicates[:, None])[0].to_json()
    return entry, figures


def write_table(path: Path, data: Manifest, values: Floats) -> None:
    """One row per cell."""
    cells = zip(data.records, data.groups().tolist(), values.tolist(), strict=True)
    rows = ((record.path, record.label, group, *row) for record, group, row in cells)
    write_text(path, csv_text(("path", "label", "group", *UNITS), rows))


def main() -> None:
    """Measure, write the reference and the figures."""
    args = command_line(__doc__, data=Needed(), per_group=60, seed=0, out=Path, reference=Path, table=Path).parse_args()
    cv2.setNumThreads(1)
    manifest = read_dataset(args.data)
    data = sample(manifest, args.per_group, args.seed)
    values, whole, times = measured(data)
    if args.table:
        write_table(args.table, data, values)
    labels, groups = data.labels(), data.groups()
    entries, figures = {}, {}
    for column, name in enumerate(UNITS):
        entry, figures[name] = describe(values[:, column], labels, groups)
        figures[name]["full_resolution"] = agreement(values[:, column], whole[:, column])
        if "auc" in figures[name]:
            figures[name]["full_resolution"]["auc"] = describe(whole[:, column], labels, groups)[1].get("auc")
        if entry:
            entries[name] = entry
    facts = {
        "data": manifest.name,
        "fingerprint": manifest.fingerprint(),
        "cells": {kind: int((labels == label).sum()) for label, kind in enumerate(CLASSES)},
        "groups": {kind: len(set(groups[labels == label])) for label, kind in enumerate(CLASSES)},
        "per_group": args.per_group,
        "seed": args.seed,
    }
    if args.reference:
        write_json(args.reference, facts | {"measurements": entries})
    report(facts | {"machine": describe_machine(), "processor_time": times, "measurements": figures}, args.out)


if __name__ == "__main__":
    main()
