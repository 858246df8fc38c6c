"""What an `eye` and a compact network answer together, the mean of their logits, and each alone, on five folds.

    python benchmarks/halves.py --data C-NMC_Leukemia --run eye=RUN ... --run compact=RUN ... \
        [--out docs/figures/pair.json]

The RUNs of one NAME are the folds of one split: each cell is answered by the networks that never saw its patient.
Nothing is fitted for the mean. Differences are paired over patient groups, also from the area of the cell alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from _common import NAMED, Needed, by_name, command_line, differences, facts_of, figures_of, pooled, report, words
from afterwards import SHOWN, mean_of
from baselines import measures, plain_unit
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.readers import read_dataset
from leukoscope.training.recipe import load_recipe


def main() -> None:
    """Join, compare, print and write."""
    parser = command_line(__doc__, data=Needed(), cache=Path, out=Path)
    parser.add_argument("--run", dest="runs", action="append", required=True, metavar=NAMED)
    args = parser.parse_args()
    runs = by_name(args.runs)
    data = read_dataset(args.data).labelled()
    shown = load_recipe("champion").input
    frames = open_cache(data, shown.preparation, shown.size, args.cache or cache_folder(), jobs=1).frames
    alone = {name: pooled(folders) for name, folders in runs.items()}
    mean = mean_of(list(alone.values()))
    area = plain_unit(data, measures(frames)[:, :1], len(next(iter(runs.values()))))
    found: dict[str, Any] = facts_of(data) | {"runs": {name: [run.name for run in of] for name, of in runs.items()}}
    for name, table in {**alone, "mean": mean, "area": area}.items():
        place = {path: row for row, path in enumerate(table.path)}
        folds = [np.array([place[path] for path in pooled([run]).path]) for run in next(iter(runs.values()))]
        by_fold = [figures_of(table.take(rows), ("auc",))["auc"]["value"] for rows in folds]
        found[name] = {"figures": figures_of(table, SHOWN), "auc_by_fold": by_fold}
        told = [words(found[name]["figures"][key]) for key in SHOWN]
        print(f"| {name} | {' | '.join(told)} | {', '.join(f'{value:.3f}' for value in by_fold)} |", flush=True)
    for name, table in {**alone, "area": area}.items():
        found["mean"][f"minus_{name}"] = differences(table, mean, SHOWN)
        gaps = [f"{key} {words(found['mean'][f'minus_{name}'][key], sign='+')}" for key in SHOWN]
        print(f"mean minus {name}: {', '.join(gaps)}", flush=True)
    report(found, args.out, shown={"cells": len(mean)})


if __name__ == "__main__":
    main()
