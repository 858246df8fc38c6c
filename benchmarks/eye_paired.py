"""Bundles `light` and `default`, an `eye`, and its mean with `light`, on cells whose patients both bundles never saw.

    python benchmarks/eye_paired.py RUN0 RUN1 RUN2 RUN3 RUN4 --data C-NMC_Leukemia [--out docs/figures/eye_paired.json]

The RUNs are the five folds of one recipe: each cell is answered by the run that never saw its patient. Both bundles
were trained on the training part of one fold of three, and are asked about the patients left. The mean is that of the
logits of what both state as probabilities, half and half, which nothing was fitted for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit, logit

from _common import Needed, command_line, differences, facts_of, figures_of, pooled, report, words
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.readers import read_dataset
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.runs.measure import table_of, unseen_by

SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "ece", "subject_auc")


def main() -> None:
    """Ask, pair, print and write."""
    args = command_line(__doc__, "runs+", data=Needed(), out=Needed()).parse_args()
    data = unseen_by(read_bundle("default"), unseen_by(read_bundle("light"), read_dataset(args.data).labelled()))
    theirs, _ = table_of(Classifier(read_bundle("light"), threads=1), data)
    shipped, _ = table_of(Classifier(read_bundle("default"), threads=1), data)
    whole = pooled(args.runs)
    place = {path: row for row, path in enumerate(whole.path)}
    ours = whole.take(np.array([place[path] for path in theirs.path]))
    stated = [logit(np.clip(table.probability, 1e-9, 1 - 1e-9)) for table in (theirs, ours)]
    middle = np.mean(stated, axis=0)
    mean = replace(theirs, logit=middle, probability=expit(middle))
    tables = {"light": theirs, "eye": ours, "mean": mean, "default": shipped}
    found = facts_of(data) | {"runs": [run.name for run in args.runs]}
    for name, table in tables.items():
        found[name] = figures_of(table, SHOWN)
        worst = evaluate(table, Provenance(protocol="group"), threshold=0.5).to_json()["worst_subject"]
        found[name]["worst_subject"] = worst
    apart = (("eye", "light"), ("mean", "light"), ("mean", "eye"), ("default", "light"), ("default", "eye"))
    found |= {f"{one}_minus_{of}": differences(tables[of], tables[one], SHOWN) for one, of in apart}
    for key in SHOWN:
        shown = [words(found[name][key]) for name in tables]
        shown += [words(found[f"{one}_minus_{of}"][key], sign="+") for one, of in apart]
        print(f"| {key} | {' | '.join(shown)} |")
    report(found, args.out, shown={"cells": len(theirs)})


if __name__ == "__main__":
    main()
