"""What would more patients bring? The same recipe with a part of the training patients, tested on the same cells.

For each share of the training patients (whole groups, both classes) and each group fold, a network is trained for as
many steps as the whole training part gives in the recipe's epochs, so that fewer patients are not also less training.
Finished jobs are kept in the runs folder; several processes may share the work. Usage:

    python benchmarks/learning_curve.py --data DIR [--shares 0.25 0.5 1] [--runs runs/curve] [--out JSON]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.panel import compare
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.training.recipe import load_recipe
from search import FOLDS, job, pooled  # the script beside this one

SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "subject_auc")


def row(share: float, folders: list[Path], patients: list[int], cells: list[int]) -> tuple[dict[str, Any], Scores]:
    """Figures of one share: pooled over the folds with intervals, and the AUC of each fold."""
    tables = pooled(folders)
    found = evaluate(tables, Provenance(protocol="group"), threshold=0.5).to_json()["metrics"]
    each = [
        evaluate(Scores.read_csv(f / "inner.csv"), Provenance(protocol="group"), threshold=0.5).to_json()
        for f in folders
    ]
    return {
        "share": share,
        "training_groups": patients,
        "training_cells": cells,
        "metrics": {key: found[key] for key in SHOWN},
        "fold_auc": [one["metrics"]["auc"]["value"] for one in each],
    }, tables


def main() -> None:
    """Train what nobody has trained, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="champion")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/curve"))
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/learning_curve.json"))
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    manifest = read_dataset(args.data).labelled()
    groups = manifest.groups()
    rows: list[dict[str, Any]] = []
    tables: dict[float, Scores] = {}
    for share in args.shares:
        folders, patients, cells = [], [], []
        for fold in range(FOLDS):
            fixed = (f"split.fold={fold}", f"split.folds={FOLDS}", f"seed={args.seed}")
            recipe = load_recipe(args.recipe, (*args.settings, *fixed))
            epochs = round(recipe.epochs / share)
            recipe = load_recipe(
                args.recipe, (*args.settings, *fixed, f"epochs={epochs}", f"split.train_share={share}")
            )
            at = recipe.split
            split = make_split(
                manifest, at.protocol, fold=fold, folds=at.folds, seed=at.seed, val_fraction=at.val_fraction,
                train_share=share,
            )  # fmt: skip
            patients.append(len(set(groups[split.train].tolist())))
            cells.append(len(split.train))
            folder = args.runs / f"share{share:g}-{fold}-seed{args.seed}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(folder.parent / f"{folder.name}.lock", timeout=0):
                    if not (folder / "job.json").exists():
                        print(f"share {share:g}, fold {fold}: {patients[-1]} groups, {cells[-1]} cells", flush=True)
                        job(manifest, recipe, folder)
            except Timeout:
                continue  # another process is at it
            folders.append(folder)
        if len(folders) == FOLDS:
            facts, tables[share] = row(share, folders, patients, cells)
            rows.append(facts)
            print(share, facts["metrics"]["auc"], facts["fold_auc"], flush=True)
    differences = {}
    for share in sorted(tables)[:-1]:
        found = compare(tables[share], tables[max(tables)], thresholds=(0.5, 0.5))
        differences[f"{max(tables):g} minus {share:g}"] = {
            d.key: d.difference.to_json() for d in found if d.key in SHOWN
        }
    write_json(args.out, {
        "recipe": args.recipe, "set": args.settings, "seed": args.seed, "fingerprint": manifest.fingerprint(),
        "machine": describe_machine(), "rows": rows, "differences": differences,
    })  # fmt: skip


if __name__ == "__main__":
    main()
