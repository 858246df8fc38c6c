"""Whom do the networks fail? The mean answer for each patient group, beside what its cells look like.

    python benchmarks/patients.py --data C-NMC_Leukemia --run NAME=RUN ... --out docs/figures/patients.json \
        --figure docs/figures/patients.png

The RUNs of one NAME are the folds of one split, so that each patient is answered by a network that never saw them. Of
at most 40 cells of each group, drawn at random, size, outline and chromatin are measured (`cells.measure`). For each
network and class the rank correlation (Spearman) over groups of the mean probability with the median of each measure,
and its 95 % interval from a bootstrap over groups, tells what those have in common whom it calls blast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from _common import NAMED, Needed, by_name, command_line, measured_cell, pooled
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.metrics.scores import Scores
from morphology import sample  # the scripts beside this one

CELLS = 40  # measured of each group
LEAST = 20  # cells of a group whose mean answer is correlated
REPLICATES = 2000
MEASURES = ("cell_area", "cell_irregularity", "cell_solidity", "chromatin_density", "chromatin_contrast")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe & Ito


def looks(data: Path, seed: int) -> dict[str, dict[str, float | None]]:
    """Medians of the measures over the sampled cells of each patient group."""
    part = sample(read_dataset(data), CELLS, seed)
    found: dict[str, list[dict[str, float | None]]] = {}
    for path, group in zip(part.paths(), part.groups().tolist(), strict=True):
        values = measured_cell(path)
        found.setdefault(group, []).append({name: values[name] for name in MEASURES})
    return {group: {name: _median([row[name] for row in rows]) for name in MEASURES} for group, rows in found.items()}


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def patients(tables: dict[str, Scores], seen: dict[str, dict[str, float | None]]) -> list[dict[str, Any]]:
    """A row for each patient group: class, cells, looks, and each network's mean probability, most blast-like last."""
    first = next(iter(tables.values()))
    rows: list[dict[str, Any]] = []
    for group in np.unique(first.group).tolist():
        of = first.group == group
        row = {"group": group, "blasts": bool(first.label[of].any()), "cells": int(of.sum())}
        means = {name: float(table.probability[table.group == group].mean()) for name, table in tables.items()}
        rows.append(row | {"looks": seen[group], "mean_probability": means})
    name = list(tables)[-1]
    return sorted(rows, key=lambda row: (row["blasts"], row["mean_probability"][name]))


def in_common(rows: list[dict[str, Any]], networks: list[str], seed: int) -> dict[str, Any]:
    """Rank correlation of mean probability and each measure, over the groups of a class with `LEAST` cells or more."""
    result: dict[str, Any] = {}
    for blasts, kind in ((False, "normal"), (True, "blast")):
        chosen = [row for row in rows if row["blasts"] is blasts and row["cells"] >= LEAST]
        result[kind] = {"groups": len(chosen)}
        for network in networks:
            answer = np.array([row["mean_probability"][network] for row in chosen])
            result[kind][network] = {
                name: _correlation(answer, np.array([row["looks"][name] for row in chosen], float), seed)
                for name in MEASURES
            }
    return result


def _correlation(answer: NDArray[np.float64], look: NDArray[np.float64], seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(REPLICATES):
        chosen = rng.integers(len(answer), size=len(answer))
        if len(np.unique(answer[chosen])) > 1 and len(np.unique(look[chosen])) > 1:
            drawn.append(spearmanr(answer[chosen], look[chosen]).statistic)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(spearmanr(answer, look).statistic), "low": float(low), "high": float(high)}


def draw(rows: list[dict[str, Any]], networks: list[str], path: Path) -> None:
    """A line for each patient group, a dot for each network's mean probability."""
    figure = Figure(figsize=(7.2, 0.19 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    places = [place + (1.5 if row["blasts"] else 0) for place, row in enumerate(rows)]
    for network, colour in zip(networks, COLOURS, strict=False):
        axes.plot([row["mean_probability"][network] for row in rows], places, "o", color=colour, ms=5, label=network)
    axes.axvline(0.5, color="0.6", lw=0.8, ls=":")
    axes.set_yticks(places, [f"{row['group']}  ({row['cells']})" for row in rows], fontsize=7)
    axes.set(xlim=(0, 1.01), ylim=(-1, max(places) + 1), xlabel="mean probability of blast over the group's cells")
    axes.set_title("Patient groups (cells): healthy below, with leukemia above", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.grid(axis="y", color="0.9", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__, data=Needed(), seed=0, out=Path("docs/figures/patients.json"), figure=Path)
    parser.add_argument("--run", dest="runs", action="append", required=True, metavar=NAMED)
    args = parser.parse_args()
    tables = {name: pooled(folders) for name, folders in by_name(args.runs).items()}
    rows = patients(tables, looks(args.data, args.seed))
    common = in_common(rows, list(tables), args.seed)
    write_json(args.out, {
        "machine": describe_machine(), "seed": args.seed, "cells_measured": CELLS, "least_cells": LEAST,
        "interval": {"level": 0.95, "unit": "patient group", "replicates": REPLICATES},
        "in_common": common, "patients": rows,
    })  # fmt: skip
    for row in rows:
        means = "  ".join(f"{mean:.2f}" for mean in row["mean_probability"].values())
        print(f"{'ill' if row['blasts'] else 'healthy':8s}{row['group']:26s}{row['cells']:5d}  {means}  {row['looks']}")
    print(common)
    if args.figure:
        draw(rows, list(tables), args.figure)


if __name__ == "__main__":
    main()
