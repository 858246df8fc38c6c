"""Whether probabilities fitted on patients left out are better than the network's own, and on patients new to a bundle.

    python benchmarks/temperatures.py RUN0 RUN1 RUN2 RUN3 RUN4 --data C-NMC_Leukemia [--bundle default] \
        [--out docs/figures/temperatures.json]

The RUNs are the folds of the bundle's recipe: each cell is answered by a network that never saw its patient. A map is a
slope on the logit (one over the temperature), with a shift or without, by logistic regression without a penalty; a cell
counts once, or each patient counts once, or by the root of its cells; each class keeps its share of the cells.

Three looks, of which only the first may choose. The groups that the bundle learned from: its folds' answers on them, in
ten parts, each judged by a map of the other nine. The folds: each judged by a map of the other four. The groups that
are new to the bundle: its own answers on them, with the map of the first look. No map moves a cell over the threshold,
which goes along, or changes the order of cells; so bands and patients' rules, which lie at logits, decide the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from _common import Needed, answers_of, command_line, differences, facts_of, figures_of, joined, report, words
from leukoscope.bundle.decision import sigmoid
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.readers import read_dataset
from leukoscope.fitting.decision import log_loss
from leukoscope.fitting.folds import clearly_lower, deal_groups
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.calibration import calibration_error, equal_width
from leukoscope.metrics.scores import Scores
from leukoscope.runs.folds import fold_answers
from leukoscope.runs.measure import table_of, unseen_by

SHOWN = ("ece", "ece_adaptive", "brier")
VOICES = {"cells alike": 0.0, "root of the cells": 0.5, "patients alike": 1.0}
MAPS = {
    f"{name}, {voice}": (shift, power)
    for name, shift in (("temperature", False), ("temperature and shift", True))
    for voice, power in VOICES.items()
}


def fitted(name: str, table: Scores) -> tuple[float, float]:
    """Slope and shift of a map."""
    shift, power = MAPS[name]
    _, unit, size = np.unique(table.group, return_inverse=True, return_counts=True)
    weights = size[unit] ** -power
    for each in (0, 1):
        of_class = table.label == each
        weights[of_class] *= of_class.sum() / weights[of_class].sum()
    unit_of = LogisticRegression(C=np.inf, fit_intercept=shift, max_iter=1000, tol=1e-8)
    unit_of.fit(table.logit[:, None], table.label, sample_weight=weights)
    return float(unit_of.coef_[0, 0]), float(unit_of.intercept_[0]) if shift else 0.0


def stated(table: Scores, slope: float, shift: float) -> Scores:
    """The table with the probabilities of a map."""
    return replace(table, probability=np.asarray(sigmoid(slope * table.logit + shift), np.float64))


def across(name: str, table: Scores, part: NDArray[np.int64]) -> Scores:
    """The table, each part stated by a map that is fitted on the others."""
    found = table
    for each in np.unique(part):
        out = part == each
        own = stated(table, *fitted(name, table.take(np.flatnonzero(~out)))).probability
        found = replace(found, probability=np.where(out, own, found.probability))
    return found


def loss_by_group(table: Scores) -> NDArray[np.float64]:
    """Sum of the log loss of each group, over the number of all cells."""
    _, unit = np.unique(table.group, return_inverse=True)
    return np.bincount(unit, weights=log_loss(table.label, table.probability)) / len(table)


def versus(trained: Scores, mapped: Scores) -> dict[str, Any]:
    """Figures of a map, and paired differences from the network as trained."""
    gain = loss_by_group(trained) - loss_by_group(mapped)
    return {
        "figures": figures_of(mapped, SHOWN),
        "minus_as_trained": differences(trained, mapped, SHOWN),
        "log_loss": float(loss_by_group(mapped).sum()),
        "gain_of_log_loss": float(gain.sum()),
        "its_standard_error": float(np.sqrt(len(gain) * gain.var(ddof=1))),
        "clearly_better": clearly_lower(loss_by_group(mapped), loss_by_group(trained)),
    }


def main() -> None:
    """Fit, judge, print and write."""
    args = command_line(__doc__, "runs+", data=Needed(), bundle="default", out=Needed()).parse_args()
    bundle = read_bundle(args.bundle)
    known = stated(fold_answers(bundle, args.runs).of_groups(bundle), 1, 0)
    _, unit = np.unique(known.group, return_inverse=True)
    part = deal_groups(np.bincount(unit, weights=known.label) > 0)[unit]
    folds = [stated(answers_of(run), 1, 0) for run in args.runs]
    whole = joined(folds)
    fold = np.repeat(np.arange(len(folds)), [len(each) for each in folds])
    data = unseen_by(bundle, read_dataset(args.data).labelled())
    new = stated(table_of(Classifier(bundle, threads=1), data)[0], 1, 0)
    looks = {"learned from": known, "folds": whole, "new": new}
    found: dict[str, Any] = facts_of(data) | {
        "runs": [run.name for run in args.runs],
        "bundle": bundle.facts.name,
        "cells": {name: len(table) for name, table in looks.items()},
        "groups": {name: len(np.unique(table.group)) for name, table in looks.items()},
        "spread_of_logits_on_new": {
            "bundle": float(new.logit.std()),
            "runs": float(whole.logit[np.isin(whole.path, new.path)].std()),
        },
        "as trained": {
            name: {"figures": figures_of(table, SHOWN), "log_loss": float(loss_by_group(table).sum())}
            for name, table in looks.items()
        },
    }
    # What would have been best had the answers been known: how far apart sets of patients are.
    found["temperature_in_hindsight"] = {
        name: 1 / fitted("temperature, cells alike", table)[0]
        for name, table in [(run.name, each) for run, each in zip(args.runs, folds, strict=True)] + [("new", new)]
    }
    best = stated(new, *fitted("temperature, cells alike", new))
    found["ece_in_hindsight"] = float(calibration_error(equal_width(best.label, best.probability)))
    for name in MAPS:
        slope, shift = fitted(name, known)
        found[name] = {
            "temperature": 1 / slope, "shift": shift,
            "learned from": versus(known, across(name, known, part)),
            "folds": versus(whole, across(name, whole, fold)),
            "new": versus(new, stated(new, slope, shift)),
        }  # fmt: skip
    for name in ("as trained", *MAPS):
        row = found[name]
        told = [f"{words(row[look]['figures']['ece'])} {row[look]['log_loss']:.4f}" for look in looks]
        print(f"| {name} | {row.get('temperature', 1):.2f} {row.get('shift', 0):+.2f} | {' | '.join(told)} |")
    for key in ("temperature_in_hindsight", "ece_in_hindsight", "spread_of_logits_on_new"):
        print(key, found[key])
    chosen = [name for name in MAPS if found[name]["learned from"]["clearly_better"]]
    found["clearly_better_on_those_learned_from"] = chosen
    report(found, args.out, shown={"clearly better on those learned from": chosen, "cells": found["cells"]})


if __name__ == "__main__":
    main()
