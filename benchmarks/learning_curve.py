"""What would more patients bring? The same recipe with a part of the training patients, tested on the same cells.

For each share of the training patients (whole groups, both classes) and each group fold, a network is trained for as
many steps as the whole training part gives in the recipe's epochs, so that fewer patients are not also less training.
Finished jobs are kept in the runs folder; several processes may share the work. Usage:

    python benchmarks/learning_curve.py --data DIR [--shares 0.25 0.5 1] [--runs runs/curve] [--out JSON]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from _common import Needed, add_settings, answers_of, command_line, differences, figures_of, pooled, turn_at
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.metrics.scores import Scores
from leukoscope.training.recipe import load_recipe
from search import FOLDS, TESTED, job  # the script beside this one

SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "subject_auc")


def row(share: float, folders: list[Path], patients: list[int], cells: list[int]) -> tuple[dict[str, Any], Scores]:
    """Figures of one share: pooled over the folds with intervals, and the AUC of each fold."""
    tables = pooled(folders, TESTED)
    each = [figures_of(answers_of(folder, TESTED), ("auc",)) for folder in folders]
    return {
        "share": share,
        "training_groups": patients,
        "training_cells": cells,
        "metrics": figures_of(tables, SHOWN),
        "fold_auc": [one["auc"]["value"] for one in each],
    }, tables


def main() -> None:
    """Train what nobody has trained, then write and print the table."""
    parser = command_line(
        __doc__, data=Needed(), recipe="champion", shares=(0.25, 0.5, 1.0), seed=0, runs=Path("runs/curve"),
        threads=int, out=Path("docs/figures/learning_curve.json"),
    )  # fmt: skip
    add_settings(parser)
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
            with turn_at(folder, "job.json") as mine:
                if mine:
                    print(f"share {share:g}, fold {fold}: {patients[-1]} groups, {cells[-1]} cells", flush=True)
                    job(manifest, recipe, folder)
            if mine is not None:  # else another process is at it
                folders.append(folder)
        if len(folders) == FOLDS:
            facts, tables[share] = row(share, folders, patients, cells)
            rows.append(facts)
            print(share, facts["metrics"]["auc"], facts["fold_auc"], flush=True)
    most = max(tables, default=0)
    gaps = {
        f"{most:g} minus {share:g}": differences(tables[share], tables[most], SHOWN) for share in sorted(tables)[:-1]
    }
    write_json(args.out, {
        "recipe": args.recipe, "set": args.settings, "seed": args.seed, "fingerprint": manifest.fingerprint(),
        "machine": describe_machine(), "rows": rows, "differences": gaps,
    })  # fmt: skip


if __name__ == "__main__":
    main()
