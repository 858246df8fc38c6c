"""The frozen floor: features of ImageNet that nothing was trained on but a head, pooled inside the cell's mask.

    python benchmarks/frozen.py --data C-NMC_Leukemia --weights WEIGHTS [--run NAME=RUN ...] \
        [--out docs/figures/frozen.json]

WEIGHTS is the folder that holds tf_efficientnet_lite0.safetensors and, for its row, tf_efficientnet_lite2.safetensors;
by default the environment variable LEUKOSCOPE_WEIGHTS or ../shared/weights. Statistics are kept in --cache, so that a
second start takes minutes. The RUNs of one NAME are all five folds of a network with one seed.

Each row is one trunk, its stages, and one head, fitted on the training and validation groups of each of the five
committed folds and asked once about its test groups. Beside each pre-trained row stand the same trunk with random
weights, the cell's area alone and the seven numbers of `baselines.py`; the last columns are paired over patient groups.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _common import (
    NAMED,
    Needed,
    auc,
    by_name,
    command_line,
    differences,
    facts_of,
    figures_of,
    pooled,
    scores_of,
    words,
)
from baselines import measures, plain_unit, split_of  # the script beside this one
from leukoscope.cells.frame import Preparation
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.metrics.scores import Scores
from leukoscope.models.masked import MaskedTrunk
from leukoscope.tables import read_rows
from leukoscope.training.batches import seed_for
from leukoscope.training.features import cell_statistics
from leukoscope.training.heads import HeadChoice, balance_weights, fit_head, head_logits

FOLDS = 5
CROP, SIZE = 320, 288  # pixels of the frame, and of the trunk's input
SHOWN = (
    "auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "sensitivity_at_95_specificity",
    "subject_auc",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A trunk, its stages, and a head."""

    name: str
    trunk: str = "tf_efficientnet_lite0"
    stages: tuple[int, ...] = (3, 4, 5)
    standardise: bool = False
    random: bool = False
    balance: str = "loss"
    head: HeadChoice = field(default_factory=HeadChoice)


ALL = (1, 2, 3, 4, 5, 6)
ROWS = (
    Row("stages 3-5, 64 components, RBF-SVM"),
    Row("the same, linear head", head=HeadChoice(kind="linear", cost=0.01)),
    Row("the same, random weights", random=True),
    Row("all six stages, 128 components, groups by the root of their size", stages=ALL, balance="groups",
        head=HeadChoice(components=128)),
    Row("all six stages, the same, random weights", stages=ALL, balance="groups", random=True,
        head=HeadChoice(components=128)),
    Row("stages 3-5, 128 components, groups by the root of their size", balance="groups",
        head=HeadChoice(components=128)),
    Row("recipe eye: the same with a kernel half as wide", balance="groups", head=HeadChoice(components=128, width=2)),
    Row("colours standardised, stages 3-5, 64 components, RBF-SVM", standardise=True),
    Row("lite2, stages 3-5, 64 components, RBF-SVM", trunk="tf_efficientnet_lite2"),
)  # fmt: skip


def arguments_of_heads(doc: str | None, out: Path) -> argparse.ArgumentParser:
    """The options that trials of heads on a frozen trunk share."""
    weights = Path(os.environ.get("LEUKOSCOPE_WEIGHTS") or "../shared/weights")
    folds = Path("docs/figures/folds_cnmc2019.csv")
    return command_line(doc, data=Needed(), weights=weights, cache=cache_folder(), jobs=int, folds=folds, out=out)


def check_folds(data: Manifest, committed: Path) -> None:
    """Stop where the folds are not those that are written down."""
    _, rows = read_rows(committed, ("group", "fold_of_5"), exact=True)
    where = {row["group"]: int(row["fold_of_5"]) for _, row in rows}
    groups = data.groups()
    for fold in range(FOLDS):
        test = np.unique(groups[split_of(data, fold, FOLDS)[1]]).tolist()
        amiss = [group for group in test if where.get(group) != fold]
        if amiss:
            raise SystemExit(f"fold {fold} tests {amiss}, which {committed} puts elsewhere: is this other data?")


def by_fold(data: Manifest, scores: Scores) -> list[float]:
    """AUC of each fold's test part."""
    parts = (scores.take(split_of(data, fold, FOLDS)[1]) for fold in range(FOLDS))
    return [auc(part.label, part.logit) for part in parts]


def figures(data: Manifest, scores: Scores) -> dict[str, Any]:
    """What a row reports of itself."""
    return {"metrics": figures_of(scores, SHOWN), "auc_by_fold": by_fold(data, scores)}


def answers(row: Row, data: Manifest, args: argparse.Namespace) -> Scores:
    """Fit a row on each fold and ask it about the test groups."""
    torch.manual_seed(seed_for("random trunk", 0))
    # One pass gives all stages; a row takes the columns of its own.
    trunk = MaskedTrunk(row.trunk, ALL, standardise=row.standardise)
    if not row.random:
        trunk.load(args.weights / f"{row.trunk}.safetensors")
    frames = open_cache(data, Preparation(frame_size=CROP), SIZE, args.cache, jobs=args.jobs).frames
    whole = cell_statistics(frames, trunk.eval(), args.cache, jobs=args.jobs)
    ends = np.cumsum([0, *(2 * each for each in trunk.channels)])
    columns = np.concatenate([np.arange(ends[s - 1], ends[s]) for s in row.stages])
    statistics, labels, groups = whole[:, columns], data.labels(), data.groups()
    logit = np.empty(len(data))
    for fold in range(FOLDS):
        learned, test = split_of(data, fold, FOLDS)
        weights = balance_weights(labels[learned], groups[learned], row.balance)
        head = fit_head(statistics[learned], labels[learned], weights, row.head)
        logit[test] = head_logits(head, statistics[test])
    return scores_of(data, logit)


def main() -> None:
    """Fit, print and write."""
    parser = arguments_of_heads(__doc__, Path("docs/figures/frozen.json"))
    parser.add_argument("--run", dest="runs", action="append", default=[], metavar=NAMED)
    args = parser.parse_args()
    data = read_dataset(args.data).labelled()
    check_folds(data, args.folds)
    small = open_cache(data, Preparation(frame_size=340), 112, args.cache, jobs=args.jobs).frames
    seven = measures(small)
    rivals = {"area": plain_unit(data, seven[:, :1], FOLDS), "seven numbers": plain_unit(data, seven, FOLDS)}
    runs = by_name(args.runs)
    rivals |= {network: pooled(folders) for network, folders in runs.items()}
    rows = [{"row": name, **figures(data, each)} for name, each in rivals.items() if name not in runs]
    floor: Scores | None = None
    tables: dict[str, Scores] = {}
    for row in ROWS:
        if not row.random and not (args.weights / f"{row.trunk}.safetensors").is_file():
            print(f"left out: {row.name}: {args.weights / row.trunk}.safetensors is not there")
            continue
        found = tables[row.name] = answers(row, data, args)
        rows.append({"row": row.name, "trunk": row.trunk, "stages": list(row.stages), "random": row.random,
                     "standardised": row.standardise, "balance": row.balance, "head": row.head.model_dump(),
                     **figures(data, found),
                     "beyond": {name: differences(each, found, SHOWN) for name, each in rivals.items()}})  # fmt: skip
        if floor is None:
            floor = found
        else:
            rows[-1]["beyond"]["the floor"] = differences(floor, found, SHOWN)
    for name, control in (
        ("stages 3-5, 64 components, RBF-SVM", "the same, random weights"),
        ("all six stages, 128 components, groups by the root of their size",
         "all six stages, the same, random weights"),
    ):  # fmt: skip
        if name in tables:
            next(each for each in rows if each["row"] == name)["beyond"]["random weights"] = differences(
                tables[control], tables[name], SHOWN
            )
    raw, standardised = tables.get(ROWS[0].name), tables.get("colours standardised, stages 3-5, 64 components, RBF-SVM")
    if raw is not None and standardised is not None:
        both = scores_of(data, (raw.logit + standardised.logit) / 2)
        rows.append({"row": "mean of the raw and the standardised", **figures(data, both),
                     "beyond": {"the floor": differences(raw, both, SHOWN),
                                "area": differences(rivals["area"], both, SHOWN)}})  # fmt: skip
    named = (("AUC", "auc"), ("F1", "f1_weighted"), ("subjects", "subject_auc"))
    for each in rows:
        folds = " ".join(f"{fold:.3f}" for fold in each["auc_by_fold"])
        print(
            f"{each['row']:68}"
            + "".join(f"  {what} {words(each['metrics'][key])}" for what, key in named)
            + f"  {folds}"
        )
        for name, gap in each.get("beyond", {}).items():
            print(f"    minus {name:18}" + "".join(f"  {what} {words(gap[key], sign='+')}" for what, key in named))
    write_json(args.out, facts_of(data) | {
        "protocol": "group", "folds": FOLDS, "split_seed": 0, "crop": CROP, "size": SIZE, "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
