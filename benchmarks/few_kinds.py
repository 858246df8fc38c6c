"""Kinds of white cells from twenty labelled cells of each: what embeddings of bundles hold that they were not made for.

    python benchmarks/few_kinds.py --data pbc-208 [--weights WEIGHTS] [--per-kind 150] \
        [--out docs/figures/few_kinds.json]

Features of the same cells: the embedding of the default bundle, of its eye alone (the principal components), of
`light`; all statistics that the eye's trunk pools inside the cell, before components are taken; the same of a trunk
with random weights, which is the control. They are computed once and kept in --cache.

Twenty cells of each kind are drawn and a head is fitted on them, all other cells are asked; once more for each of ten
draws. Heads: multinomial logistic regression on standardised features, its cost chosen among three on the labelled
cells alone, and the nearest labelled cell. Intervals: 95 % over draws, in each of which the cells asked are drawn
again, too. No patient is named in `pbc-208`, so that cells of one person stand on both sides, which flatters all rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from _common import Needed, command_line, report
from kinds import UM_PER_PX  # the script beside this one
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.frame import resize_frame
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.kinds import kind_of, read_kinds
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.models.masked import MaskedTrunk
from leukoscope.models.pair import CROP, EYE_SIZE, FRAME
from leukoscope.training.batches import seed_for
from leukoscope.training.features import cell_statistics

Array = NDArray[np.float64]
TRUNK, STAGES = "tf_efficientnet_lite0", (3, 4, 5)
LABELLED, DRAWS, BATCH, COSTS = 20, 10, 16, (0.01, 0.1, 1.0)


def cells_of(classifier: Classifier, paths: list[Path]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Which of the pictures show a cell, and the frame of the first one of each."""
    rows, frames = [], []
    for row, answers in enumerate(classifier.answers(paths, ReadOptions(um_per_px=UM_PER_PX))):
        first = next((each for each in answers.cells if each.frame is not None), None)
        if first is not None and first.frame is not None:
            rows.append(row)
            frames.append(first.frame)
    return np.array(rows), np.stack(frames)


def seen_by_the_eye(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What of each frame the eye's trunk is given, uint8 [N, 288, 288, 3]."""
    start = (FRAME - CROP) // 2
    return np.stack([resize_frame(each[start:-start, start:-start], EYE_SIZE) for each in frames])


def embedded(classifier: Classifier, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The embedding of each frame, float32 [N, D]."""
    return np.concatenate([classifier.predict_frames(frames[k : k + BATCH])[2] for k in range(0, len(frames), BATCH)])


def features_of(
    data: Path, weights: Path, per_kind: int, cache: Path
) -> tuple[NDArray[np.str_], dict[str, Array], int]:
    """Kinds [N], features [N, D] by name, and of how many pictures no cell was found."""
    found = read_kinds(data, per_kind=per_kind)
    bundles = [read_bundle(name) for name in ("default", "light")]
    entry = cache / f"few-kinds-{found.fingerprint()[:16]}-{bundles[0].digest[:8]}-{bundles[1].digest[:8]}.npz"
    if not entry.is_file():
        whole, light = (Classifier(each, threads=1) for each in bundles)
        rows, frames = cells_of(whole, [found.root / record.path for record in found.records])
        seen = (embedded(each, frames) for each in (whole, light))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(entry, rows, frames, *seen)
    with np.load(entry) as kept:
        rows, frames, default, small = (kept[f"arr_{k}"] for k in range(4))
    views = seen_by_the_eye(frames)
    tables = {
        "embedding of the default bundle": default,
        "of its eye alone": default[:, :-1],
        "embedding of light": small,
    }
    for name, random in ("all statistics of the eye's trunk", False), ("the same, random weights", True):
        torch.manual_seed(seed_for("random trunk", 0))
        trunk = MaskedTrunk(TRUNK, STAGES)
        if not random:
            trunk.load(weights / f"{TRUNK}.safetensors")
        tables[name] = cell_statistics(views, trunk.eval(), cache, jobs=1)
    kinds = np.array([kind_of(found.records[row]) for row in rows])
    lost = len(found.records) - len(rows)
    return kinds, {name: table.astype(np.float64) for name, table in tables.items()}, lost


def heads() -> dict[str, Any]:
    """The heads, not fitted."""
    unit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    costs = {"logisticregression__C": COSTS}
    near: Pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier(1))
    return {"logistic": GridSearchCV(unit, costs, cv=5, scoring="balanced_accuracy"), "nearest cell": near}


def drawn(table: Array, kinds: NDArray[np.str_], head: Any) -> dict[str, Any]:
    """Balanced accuracy over draws of the labelled cells."""
    names = np.unique(kinds)
    means, again, shares = [], [], []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        learned = np.concatenate([rng.choice(np.flatnonzero(kinds == name), LABELLED, replace=False) for name in names])
        test = np.setdiff1d(np.arange(len(kinds)), learned)
        right = head.fit(table[learned], kinds[learned]).predict(table[test]) == kinds[test]
        hits = [right[kinds[test] == name].astype(float) for name in names]
        shares.append([each.mean() for each in hits])
        means.append(float(np.mean(shares[-1])))
        again += np.mean([rng.choice(each, (100, len(each))).mean(1) for each in hits], axis=0).tolist()
    return {
        "balanced_accuracy": float(np.mean(means)),
        "interval": np.quantile(again, [0.025, 0.975]).tolist(),
        "by_kind": {str(name): round(float(each), 3) for name, each in zip(names, np.mean(shares, 0), strict=True)},
    }


def main() -> None:
    """Measure, print and write."""
    weights = Path(os.environ.get("LEUKOSCOPE_WEIGHTS") or "../shared/weights")
    args = command_line(
        __doc__, data=Needed(), weights=weights, per_kind=150, cache=cache_folder(),
        out=Path("docs/figures/few_kinds.json"),
    ).parse_args()  # fmt: skip
    kinds, tables, lost = features_of(args.data, args.weights, args.per_kind, args.cache)
    found: dict[str, Any] = {
        "machine": describe_machine(), "data": args.data.name, "cells": len(kinds), "without_a_cell": lost,
        "cells_by_kind": {str(name): int((kinds == name).sum()) for name in np.unique(kinds)},
        "bundles": [read_bundle(name).facts.name for name in ("default", "light")],
        "labelled_of_each_kind": LABELLED, "draws": DRAWS, "features": {},
    }  # fmt: skip
    for name, table in tables.items():
        rows = {each: drawn(table, kinds, head) for each, head in heads().items()}
        found["features"][name] = {"numbers": table.shape[1], **rows}
        told = [f"{row['balanced_accuracy']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]"
                for row in rows.values()]  # fmt: skip
        print(f"| {name} | {table.shape[1]} | {' | '.join(told)} |", flush=True)
    report(found, args.out, shown={"cells": found["cells_by_kind"], "without a cell": lost})


if __name__ == "__main__":
    main()
