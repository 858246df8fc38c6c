"""What leaking patients are worth: one test part, one network, two training parts of the same size.

`leaky` keeps the pictures of patients who also stand in the test part under another subject ID; `clean` has none of
them. From `leaky` as many other pictures of each class are dropped, at random, so that both train on the same number.
Both are tested on the same cells. Usage:

    python benchmarks/optimism.py --data DIR [--fold 0] [--model plain_cnn] [--set input.size=112 --set epochs=12]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.metrics.panel import compare
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


def train(manifest: Manifest, folder: Path, fold: int, model: str, settings: list[str]) -> Scores:
    """Train and test on the official fold; returns the table of answers."""
    if not (folder / "evaluation" / "metrics.json").exists():
        table = folder.with_suffix(".csv")
        manifest.write_csv(table)
        command = [sys.executable, "-m", "leukoscope", "train", "--data", str(table), "--model", model]
        command += ["--protocol", "official", "--fold", str(fold), "--out", str(folder)]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True)
    return Scores.read_csv(folder / "evaluation" / "predictions.csv")


def differences(clean: Scores, leaky: Scores) -> list[dict[str, Any]]:
    """Leaky minus clean, with paired intervals over patient groups."""
    return [
        {"metric": d.key, "clean": d.first, "leaky": d.second, "difference": d.difference.to_json()}
        for d in compare(clean, leaky, thresholds=(0.5, 0.5))
        if d.key in KEYS
    ]


def main() -> None:
    """Make both arms, compare, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--model", default="plain_cnn")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures dropped from the leaky arm")
    parser.add_argument("--runs", type=Path, default=Path("runs/optimism"))
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/figures/optimism.json"))
    args = parser.parse_args()
    sets, crossing = arms(read_dataset(args.data), args.fold, args.seed)
    args.runs.mkdir(parents=True, exist_ok=True)
    found = {
        name: train(data, args.runs / f"{args.model}-official{args.fold}-{name}", args.fold, args.model, args.settings)
        for name, data in sets.items()
    }
    assert found["leaky"].path == found["clean"].path, "both arms must be tested on the same cells"
    result = {
        "command": f"python benchmarks/optimism.py --fold {args.fold} --model {args.model} "
        + " ".join(f"--set {s}" for s in args.settings),
        "pictures": {name: len(data) for name, data in sets.items()},
        "test_pictures": len(crossing),
        "test_pictures_of_crossing_patients": int(crossing.sum()),
        "all_test_cells": differences(found["clean"], found["leaky"]),
        "cells_of_crossing_patients": differences(
            found["clean"].take(np.flatnonzero(crossing)), found["leaky"].take(np.flatnonzero(crossing))
        ),
    }
    write_json(args.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
