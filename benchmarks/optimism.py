"""What leaking patients are worth: one test part, one network, two training parts of the same size.

`leaky` keeps the pictures of patients who also stand in the test part under another subject ID; `clean` has none of
them. From `leaky` as many other pictures of each class are dropped, at random, so that both train on the same number.
Both are tested on the same cells. Usage:

    python benchmarks/optimism.py --data DIR [--fold 0] [--model plain_cnn] [--set input.size=112 --set epochs=12]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import Needed, add_settings, answers_of, command_line, differences, report, train
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.metrics.scores import Scores

KEYS = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity")


def arms(manifest: Manifest, fold: int, seed: int) -> tuple[dict[str, Manifest], NDArray[np.bool_]]:
    """The two data sets, and which pictures belong to patients on both sides of the official fold."""
    data = manifest.labelled()
    data = data.select([record.fold is not None for record in data.records])
    test = np.array([record.fold == fold for record in data.records])
    groups, labels = data.groups(), data.labels()
    crossing = np.isin(groups, np.intersect1d(groups[test], groups[~test]))
    random = np.random.default_rng(seed)
    control = np.zeros(len(data), dtype=bool)
    for label in (0, 1):
        leaving = int((crossing & ~test & (labels == label)).sum())
        others = np.flatnonzero(~crossing & ~test & (labels == label))
        control[random.choice(others, leaving, replace=False)] = True
    return {"leaky": data.select(~control), "clean": data.select(~(crossing & ~test))}, crossing[test]


def gaps(clean: Scores, leaky: Scores) -> list[dict[str, Any]]:
    """Leaky minus clean, with paired intervals over patient groups."""
    found = differences(clean, leaky, KEYS, names=("clean", "leaky"))
    return [{"metric": key, **each} for key, each in found.items()]


def main() -> None:
    """Make both arms, compare, write JSON."""
    parser = command_line(
        __doc__, data=Needed(), fold=0, model="plain_cnn", seed=0, runs=Path("runs/optimism"),
        out=Path("docs/figures/optimism.json"),
    )  # fmt: skip
    add_settings(parser)
    args = parser.parse_args()
    sets, crossing = arms(read_dataset(args.data), args.fold, args.seed)
    args.runs.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, data in sets.items():
        folder = args.runs / f"{args.model}-official{args.fold}-{name}"
        data.write_csv(table := folder.with_suffix(".csv"))
        part = ("--protocol", "official", "--fold", str(args.fold))
        train(folder, "--data", str(table), "--model", args.model, *part, settings=args.settings)
        found[name] = answers_of(folder)
    assert found["leaky"].path == found["clean"].path, "both arms must be tested on the same cells"
    result = {
        "command": f"python benchmarks/optimism.py --fold {args.fold} --model {args.model} "
        + " ".join(f"--set {s}" for s in args.settings),
        "pictures": {name: len(data) for name, data in sets.items()},
        "test_pictures": len(crossing),
        "test_pictures_of_crossing_patients": int(crossing.sum()),
        "all_test_cells": gaps(found["clean"], found["leaky"]),
        "cells_of_crossing_patients": gaps(found["clean"], found["leaky"].take(np.flatnonzero(crossing))),
    }
    report(result, args.out)


if __name__ == "__main__":
    main()
