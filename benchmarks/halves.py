"""What each half of a `pair` answers alone, and what it is worth to weigh them by each fold's own validation part.

    python benchmarks/halves.py RUN... --data C-NMC_Leukemia [--out docs/figures/pair.json]

The RUNs are folds of recipe `pair` on one split. Rows: the eye, the compact network, their mean as the bundle has it,
and the mean whose weights have the lowest log loss on the validation part of the fold, whose patients were new to both
halves. Differences from the eye are paired over patient groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from _common import (
    Needed,
    answers_of,
    command_line,
    differences,
    facts_of,
    figures_of,
    joined,
    report,
    scores_of,
    words,
)
from leukoscope.bundle.decision import sigmoid
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.models.compact import CompactCNN
from leukoscope.models.eye import Eye
from leukoscope.models.pair import REDUCTION
from leukoscope.runs.run import Run
from leukoscope.training.batches import FrameSource
from leukoscope.training.checkpoint import best_network
from leukoscope.training.features import cell_statistics
from leukoscope.training.frozen import logit_scale
from leukoscope.training.heads import head_logits
from leukoscope.training.loop import predict
from leukoscope.training.members import FOLDER
from leukoscope.training.pairs import recipes_of_pair
from leukoscope.training.runtime import Runtime

SHOWN = ("auc", "f1_weighted", "sensitivity", "specificity", "ece", "subject_auc")
SHARES = np.linspace(0, 1, 11)  # of the compact network
CPU = Runtime(torch.device("cpu"), torch.float32)


def of_halves(run: Run, data: Manifest, cache: Path) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Logits [N] of the eye and of the compact network on validation and test part, in this order, and their rows."""
    first, second = recipes_of_pair(run.recipe)
    eye, _ = best_network(run.folder / FOLDER / "eye" / "checkpoints", first)
    compact, _ = best_network(run.folder / FOLDER / "compact" / "checkpoints", second)
    assert isinstance(eye, Eye)
    assert isinstance(compact, CompactCNN)
    rows = np.concatenate([run.split.val, run.split.test])
    shown = run.recipe.input
    whole = open_cache(data, shown.preparation, shown.size, cache).frames
    head = {name: each.numpy() for name, each in eye.state_dict().items() if not name.startswith("features.")}
    ours = head_logits(head, cell_statistics(whole, eye.trunk.eval(), cache)[rows])
    small = open_cache(data, shown.preparation, shown.size // REDUCTION, cache).frames
    theirs = predict(compact, FrameSource(small, data.labels(), rows, CPU.device), 32, CPU).numpy().astype(np.float64)
    new = data.labels()[run.split.val]
    return [ours, theirs * logit_scale(theirs[: len(new)], new)], rows


def main() -> None:
    """Ask, weigh, compare, print and write."""
    args = command_line(__doc__, "runs+", data=Needed(), cache=Path, out=Path).parse_args()
    cache = args.cache or cache_folder()
    data = read_dataset(args.data).labelled()
    parts: dict[str, list[Any]] = {"eye": [], "compact": [], "weighed": [], "pair": []}
    validation = []
    for folder in args.runs:
        run = Run.open(folder)
        if run.dataset.fingerprint() != data.fingerprint():
            raise SystemExit(f"{folder} was trained on other pictures than {args.data}")
        (ours, theirs), _ = of_halves(run, data, cache)
        count, label = len(run.split.val), data.labels()[run.split.val]
        losses = [log_loss(label, sigmoid(((1 - s) * ours + s * theirs)[:count]), labels=[0, 1]) for s in SHARES]
        share = float(SHARES[int(np.argmin(losses))])
        validation.append({
            "run": folder.name, "share_of_compact": share, "eye_auc": float(roc_auc_score(label, ours[:count])),
            "compact_auc": float(roc_auc_score(label, theirs[:count])), "log_loss": losses,
        })  # fmt: skip
        test = data.select(run.split.test)
        for name, logits in (("eye", ours), ("compact", theirs), ("weighed", (1 - share) * ours + share * theirs)):
            parts[name].append(scores_of(test, logits[count:]))
        parts["pair"].append(answers_of(folder))
    tables = {name: joined(each) for name, each in parts.items()}
    found: dict[str, Any] = facts_of(data) | {"runs": [run.name for run in args.runs], "validation": validation}
    for name, table in tables.items():
        by_fold = [figures_of(each, ("auc",))["auc"]["value"] for each in parts[name]]
        found[name] = {"figures": figures_of(table, SHOWN), "auc_by_fold": by_fold}
        found[name]["minus_eye"] = differences(tables["eye"], table, SHOWN) if name != "eye" else None
        told = [words(found[name]["figures"][key]) for key in SHOWN]
        if name != "eye":
            told += [words(found[name]["minus_eye"][key], sign="+") for key in ("auc", "f1_weighted")]
        print(f"| {name} | {' | '.join(told)} | {', '.join(f'{value:.3f}' for value in by_fold)} |", flush=True)
    for row in validation:
        print({key: value for key, value in row.items() if key != "log_loss"})
    report(found, args.out, shown={"cells": len(tables["pair"])})


if __name__ == "__main__":
    main()
