"""An `eye`, the default bundle and their mean on the cells whose patients that bundle never saw, paired over patients.

    python benchmarks/eye_paired.py RUN0 RUN1 RUN2 RUN3 RUN4 --data C-NMC_Leukemia [--out docs/figures/eye_paired.json]

The RUNs are the five folds of one recipe: each cell is answered by the run that never saw its patient. The default
bundle was trained on the training part of one fold of three, and is asked about the patients left. The mean is that of
the logits of what both state as probabilities, half and half, which nothing was fitted for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit, logit

from _common import Needed, command_line, differences, facts_of, figures_of, pooled, report, words
from leukoscope.bundle.decision import logit_at
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
    bundle = read_bundle("default")
    data = unseen_by(bundle, read_dataset(args.data).labelled())
    theirs, _ = table_of(Classifier(bundle, threads=1), data)
    whole = pooled(args.runs)
    place = {path: row for row, path in enumerate(whole.path)}
    ours = whole.take(np.array([place[path] for path in theirs.path]))
    stated = [logit(np.clip(table.probability, 1e-9, 1 - 1e-9)) for table in (theirs, ours)]
    middle = np.mean(stated, axis=0)
    mean = replace(theirs, logit=middle, probability=expit(middle))
    worst = {}
    for name, table in (("default", theirs), ("eye", ours), ("mean", mean)):
        worst[name] = evaluate(table, Provenance(protocol="group"), threshold=0.5).to_json()["worst_subject"]
    rule = bundle.facts.decision
    found = facts_of(data) | {
        "runs": [run.name for run in args.runs], "threshold_logit_of_default": logit_at(rule.threshold, rule),
        "default": figures_of(theirs, SHOWN), "eye": figures_of(ours, SHOWN), "mean": figures_of(mean, SHOWN),
        "worst_subject": worst, "eye_minus_default": differences(theirs, ours, SHOWN),
        "mean_minus_default": differences(theirs, mean, SHOWN), "mean_minus_eye": differences(ours, mean, SHOWN),
    }  # fmt: skip
    for key in SHOWN:
        shown = [words(found[name][key]) for name in ("default", "eye", "mean")]
        shown += [words(found[f"{name}_minus_{of}"][key], sign="+")
                  for name, of in (("eye", "default"), ("mean", "default"), ("mean", "eye"))]  # fmt: skip
        print(f"| {key} | {' | '.join(shown)} |")
    report(found, args.out, shown={"cells": len(theirs)})


if __name__ == "__main__":
    main()
