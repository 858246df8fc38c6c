"""What a cell's size and colour tell without a network: one logistic unit on at most seven numbers, on the same folds.

    python benchmarks/baselines.py --data C-NMC_Leukemia [--folds 5] [--run NAME=RUN ...] \
        [--out docs/figures/baselines.json]

The RUNs of one NAME are all folds of a network with one seed; it is compared with each unit, paired over patients.

The numbers, from the prepared frame at 112 px: the area of the cell; mean optical density of red, green and blue, which
stain and light decide, and so does what the dye binds to; their standard deviations within the cell. Each number is
standardised on the training groups; classes weigh the same in the loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.panel import compare
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.training.recipe import load_recipe
from refer import pooled  # the script beside this one

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


def beyond(name: str, unit: Scores, network: Scores) -> dict[str, Any]:
    """What a network has beyond the unit on the same cells, paired over patient groups."""
    place = {path: row for row, path in enumerate(unit.path)}
    same = unit.take(np.array([place[path] for path in network.path]))
    found = compare(same, network, thresholds=(0.5, 0.5))
    found = [each for each in found if each.key in SHOWN]
    for each in found:
        gap = each.difference
        interval = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
        print(f"    {name:14}{each.key:18} {each.first:.3f} -> {each.second:.3f}  {gap.value:+.3f} {interval}")
    return {each.key: each.difference.to_json() for each in found}


def main() -> None:
    """Fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--run", dest="runs", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/baselines.json"))
    args = parser.parse_args()
    manifest = read_dataset(args.data).labelled()
    shown = load_recipe("champion").input
    values = measures(open_cache(manifest, shown.preparation, shown.size, cache_folder(), jobs=1).frames)
    labels = manifest.labels()
    runs: dict[str, list[Path]] = {}
    for text in args.runs:
        network, _, folder = text.partition("=")
        runs.setdefault(network, []).append(Path(folder))
    networks = {network: pooled(folders) for network, folders in runs.items()}
    rows: list[dict[str, Any]] = []
    for name, columns in SETS.items():
        logit = np.full(len(labels), np.nan)
        for fold in range(args.folds):
            split = make_split(manifest, "group", fold=fold, folds=args.folds, seed=0, val_fraction=0.15)
            learned = np.concatenate([split.train, split.val])
            unit = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
            unit.fit(values[learned][:, columns], labels[learned])
            logit[split.test] = unit.decision_function(values[split.test][:, columns])
        scores = Scores(
            path=tuple(record.path for record in manifest.records), label=labels, logit=logit,
            probability=expit(logit), subject=manifest.subjects(), group=manifest.groups(),
        )  # fmt: skip
        found = evaluate(scores, Provenance(protocol="group"), threshold=0.5).to_json()["metrics"]
        rows.append({"numbers": name, "metrics": {key: found[key] for key in SHOWN}})
        rows[-1]["networks"] = {network: beyond(network, scores, table) for network, table in networks.items()}
        auc, f1, of_subjects = (found[key] for key in ("auc", "f1_weighted", "subject_auc"))
        print(f"{name:44}" + "".join(
            f"  {what} {each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]"
            for what, each in (("AUC", auc), ("F1", f1), ("subjects", of_subjects))
        ))  # fmt: skip
    write_json(args.out, {
        "machine": describe_machine(), "data": manifest.name, "fingerprint": manifest.fingerprint(),
        "pictures": len(manifest), "groups": len(set(manifest.groups().tolist())),
        "protocol": "group", "folds": args.folds, "split_seed": 0, "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
