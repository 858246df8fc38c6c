"""What a cell's size and colour tell without a network: one logistic unit on at most seven numbers, on the same folds.

    python benchmarks/baselines.py --data C-NMC_Leukemia [--folds 5] [--run NAME=RUN ...] \
        [--out docs/figures/baselines.json]

The RUNs of one NAME are all folds of a network with one seed; it is compared with each unit, paired over patients.

The numbers, from the prepared frame at 112 px: the area of the cell; mean optical density of red, green and blue, which
stain and light decide, and so does what the dye binds to; their standard deviations within the cell. Each number is
standardised on the training groups; classes weigh the same in the loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from _common import NAMED, Needed, by_name, command_line, differences, facts_of, figures_of, pooled, scores_of, words
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.metrics.scores import Scores
from leukoscope.training.recipe import load_recipe

SETS = {
    "area": [0],
    "mean density of each colour": [1, 2, 3],
    "mean and spread of density of each colour": [1, 2, 3, 4, 5, 6],
    "area and both": [0, 1, 2, 3, 4, 5, 6],
}
SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "subject_auc")


def measures(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Area, and mean and standard deviation of each colour's optical density, float64 [N, 7]."""
    rows = []
    for frame in frames:
        inside = frame[frame.max(2) > 0].astype(np.float64)
        density = -np.log(np.maximum(inside, 1) / 255)
        rows.append([len(inside), *density.mean(0), *density.std(0)])
    return np.array(rows)


def split_of(data: Manifest, fold: int, folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that learn and rows that are tested."""
    split = make_split(data, "group", fold=fold, folds=folds, seed=0, val_fraction=0.15)
    return np.concatenate([split.train, split.val]), split.test


def plain_unit(data: Manifest, numbers: NDArray[np.float64], folds: int) -> Scores:
    """One logistic unit on a few numbers of each cell."""
    labels, logit = data.labels(), np.full(len(data), np.nan)
    for fold in range(folds):
        learned, test = split_of(data, fold, folds)
        unit = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        logit[test] = unit.fit(numbers[learned], labels[learned]).decision_function(numbers[test])
    return scores_of(data, logit)


def beyond(name: str, unit: Scores, network: Scores) -> dict[str, Any]:
    """What a network has beyond the unit on the same cells, paired over patient groups."""
    found = differences(unit, network, SHOWN, names=("unit", "network"))
    for key, each in found.items():
        gap = words(each["difference"], sign="+")
        print(f"    {name:14}{key:18} {each['unit']:.3f} -> {each['network']:.3f}  {gap}")
    return {key: each["difference"] for key, each in found.items()}


def main() -> None:
    """Fit, print and write."""
    parser = command_line(__doc__, data=Needed(), folds=5, out=Path("docs/figures/baselines.json"))
    parser.add_argument("--run", dest="runs", action="append", default=[], metavar=NAMED)
    args = parser.parse_args()
    manifest = read_dataset(args.data).labelled()
    shown = load_recipe("champion").input
    values = measures(open_cache(manifest, shown.preparation, shown.size, cache_folder(), jobs=1).frames)
    networks = {network: pooled(folders) for network, folders in by_name(args.runs).items()}
    rows: list[dict[str, Any]] = []
    for name, columns in SETS.items():
        scores = plain_unit(manifest, values[:, columns], args.folds)
        found = figures_of(scores, SHOWN)
        rows.append({"numbers": name, "metrics": found})
        rows[-1]["networks"] = {network: beyond(network, scores, table) for network, table in networks.items()}
        told = (("AUC", "auc"), ("F1", "f1_weighted"), ("subjects", "subject_auc"))
        print(f"{name:44}" + "".join(f"  {what} {words(found[key])}" for what, key in told))
    facts = {"protocol": "group", "folds": args.folds, "split_seed": 0, "rows": rows}
    write_json(args.out, facts_of(manifest) | facts)


if __name__ == "__main__":
    main()
