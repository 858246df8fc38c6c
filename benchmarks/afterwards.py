"""What can still be had of trained networks without training again: another threshold, turned cells, several networks.

    python benchmarks/afterwards.py --run NAME=RUN ... [--turned NAME] [--threshold NAME] [--mean NAME,NAME ...] \
        --out docs/figures/afterwards.json

The RUNs of one NAME are the folds of one split and one seed, so that each patient is answered by a network that never
saw them. Each row is compared with the network as it was trained, paired over patient groups:

- ``--threshold``: each fold's threshold is the one with the best weighted F1 on its own validation part.
- ``--turned``: the mean logit over the eight quarter turns and mirror images of a cell: a cell has no up.
- ``--mean``: the mean logit of several networks; compared with the first of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from _common import NAMED, by_name, command_line, differences, joined, pooled, scores_of, words
from int8 import framed  # the script beside this one
from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.datasets.dataset import Manifest
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.counts import confusion, f1_weighted
from leukoscope.metrics.scores import Scores
from leukoscope.runs.measure import table_of
from leukoscope.runs.run import Run

DECISIONS = ("f1_weighted", "balanced_accuracy", "sensitivity", "specificity")
SHOWN = ("auc", *DECISIONS, "subject_auc", "ece")
BATCH = 8


def best_threshold(scores: Scores) -> float:
    """The logit between two neighbours with the best weighted F1; of equally good ones that nearest to 0."""
    values = np.unique(scores.logit)
    middles = np.concatenate([(values[:-1] + values[1:]) / 2, [0.0]])
    found = np.array([f1_weighted(confusion(scores.label, scores.logit >= at, np.ones(len(scores)))) for at in middles])
    best = middles[found == found.max()]
    return float(best[np.argmin(np.abs(best))])


def moved(scores: Scores, threshold: float) -> Scores:
    """The table with logits counted from the threshold: called blast where the probability is at least 0.5."""
    logit = scores.logit - threshold
    return replace(scores, logit=logit, probability=expit(logit))


def at_validated_threshold(runs: list[Path]) -> tuple[Scores, list[float]]:
    """The test parts of the runs, each judged at the threshold that its validation part likes best."""
    tables, thresholds = [], []
    for run in runs:
        whole = Run.open(run)
        table, _ = table_of(Classifier(whole.bundle(), threads=1), whole.part("val"))
        thresholds.append(best_threshold(table))
        tables.append(moved(whole.scores(), thresholds[-1]))
    return joined(tables), thresholds


def turned_logit(classifier: Classifier, part: Manifest) -> tuple[NDArray[np.float64], list[int]]:
    """Mean logit over the eight symmetries of the square, and the rows of the pictures that could be read."""
    means: list[NDArray[np.float64]] = []
    rows: list[int] = []
    for some, frames in framed(classifier, part):
        rows += some
        views = [np.rot90(each, turn, axes=(1, 2)) for each in (frames, frames[:, :, ::-1]) for turn in range(4)]
        means.append(np.mean([classifier.predict_frames(view)[0].astype(np.float64) for view in views], axis=0))
    return np.concatenate(means), rows


def turned(runs: list[Path]) -> Scores:
    """The test parts of the runs, answered by the mean over turned cells."""
    tables = []
    for run in runs:
        bundle, part = Run.open(run).bundle(), Run.open(run).part("test")
        logit, rows = turned_logit(Classifier(bundle, threads=1), part)
        tables.append(scores_of(part.select(rows), logit, bundle.facts.decision))
    return joined(tables)


def mean_of(tables: list[Scores]) -> Scores:
    """The mean logit of several networks on their common cells, in the order of the first."""
    first, *others = tables
    rows = [{path: row for row, path in enumerate(each.path)} for each in others]
    logits = [first.logit]
    logits += [each.logit[[place[path] for path in first.path]] for each, place in zip(others, rows, strict=True)]
    logit = np.mean(logits, axis=0)
    return replace(first, logit=logit, probability=probability_of(logit, DecisionFacts()))


def row(name: str, of: str, first: Scores, second: Scores, shown: tuple[str, ...]) -> dict[str, Any]:
    """Figures of ``second``, and second minus first."""
    figures = differences(first, second, shown, names=("before", "value"))
    for key, each in figures.items():
        print(f"{name:<36} {key:<18} {each['before']:.3f} -> {words(each['difference'], sign='+')}")
    return {"row": name, "against": of, "pictures": len(first), "figures": figures}


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__, out=Path("docs/figures/afterwards.json"))
    parser.add_argument("--run", dest="runs", action="append", required=True, metavar=NAMED)
    for name, metavar in (("threshold", "NAME"), ("turned", "NAME"), ("mean", "NAME,NAME")):
        parser.add_argument(f"--{name}", action="append", default=[], metavar=metavar)
    args = parser.parse_args()
    runs = by_name(args.runs)
    tables = {name: pooled(folders) for name, folders in runs.items()}
    rows: list[dict[str, Any]] = []
    for name in args.threshold:
        table, thresholds = at_validated_threshold(runs[name])
        found = row(f"{name}, threshold of validation", name, tables[name], table, DECISIONS)
        rows.append(found | {"thresholds_of_folds": expit(thresholds).tolist()})
    rows += [row(f"{name}, eight views", name, tables[name], turned(runs[name]), SHOWN) for name in args.turned]
    for names in (text.split(",") for text in args.mean):
        mean = mean_of([tables[name] for name in names])
        rows.append(row(" + ".join(names), names[0], tables[names[0]], mean, SHOWN))
    write_json(args.out, {
        "machine": describe_machine(), "threshold": 0.5,
        "interval": {"level": 0.95, "unit": "patient group", "replicates": 2000, "seed": 0}, "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
