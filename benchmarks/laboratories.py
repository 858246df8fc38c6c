"""Three sites of C-NMC 2019 patients: pooled counts against joined cells, by bins and noise; what an attacker learns.

    python benchmarks/laboratories.py --data DATA --limit 2400 --out docs/figures/laboratories.json \
        [--weights tf_efficientnet_lite0.safetensors]

With --weights training over the sites is measured, too, on all cells: see `laboratories_training.py`.

Whole patient groups are dealt to three sites by a seed. The default bundle answers once for all cells, of which it was
trained on most: what is measured here is the pooling, and no figure is one of the bundle on new patients.

The attacker holds a patient's own answers, counted as the summary counts them, and asks of each site whether the
patient is in its file: the nearer the nearest count, the likelier. The AUC over all pairs of patient and site says how
well that works: 1 always, 0.5 never.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import Needed, auc, command_line, report
from laboratories_training import training_figures  # the script beside this one
from leukoscope.bundle.read import default_bundle
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.federation.pool import KEYS, pool_sites
from leukoscope.federation.summary import GroupCounts, SiteSummary, summarise_site
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier, load
from leukoscope.machine import describe_machine
from leukoscope.metrics.panel import Panel
from leukoscope.metrics.scores import Scores

SITES = ("Aachen", "Bergen", "Cork")
BINS = (25, 50, 100, 200, 400)
BUDGETS = (8.0, 4.0, 2.0, 1.0)


class Answered:
    """A classifier whose answers for known files are there already: what the sites count does not change them."""

    def __init__(self, classifier: Classifier, paths: Sequence[Path]) -> None:
        self.bundle = classifier.bundle
        self._answers = dict(zip(paths, classifier.predict_many(paths, quality=True), strict=True))

    def predict_many(self, paths: Sequence[Path], **_: Any) -> list[Answer]:
        """The answers."""
        return [self._answers[path] for path in paths]


def homes_of(data: Manifest, seed: int) -> NDArray[np.int64]:
    """The site of each cell: whole patient groups go one after another to the sites."""
    names, unit = np.unique(data.groups(), return_inverse=True)
    order = np.random.default_rng(seed).permutation(names)
    place = {group: number % len(SITES) for number, group in enumerate(order.tolist())}
    return np.array([place[name] for name in names.tolist()])[unit]


def dealt(data: Manifest, seed: int) -> list[Manifest]:
    """The cells of each site."""
    place = homes_of(data, seed)
    return [data.select(place == number) for number in range(len(SITES))]


def table_of_all(answered: Answered, data: Manifest) -> Scores:
    """The table of all cells."""
    answers = answered.predict_many(data.paths())
    return Scores(
        tuple(record.path for record in data.records), data.labels(),
        np.array([answer.probability for answer in answers]), np.array([answer.logit for answer in answers]),
        data.subjects(), data.groups(),
    )  # fmt: skip


def attacked(clear: Sequence[SiteSummary], sent: Sequence[SiteSummary]) -> float:
    """AUC of guessing from the files that are sent which patient is at which site."""
    truth, guess = [], []
    for home, site in enumerate(clear):
        for patient in site.groups:
            for number, other in enumerate(sent):
                truth.append(int(number == home))
                guess.append(-min(_distance(patient, group) for group in other.groups))
    return round(auc(np.array(truth), np.array(guess, np.float64)), 4)


def _distance(one: GroupCounts, other: GroupCounts) -> int:
    total = 0
    for mine, theirs in ((one.blast, other.blast), (one.normal, other.normal)):
        left, right = dict(mine), dict(theirs)
        total += sum(abs(left.get(bin_, 0) - right.get(bin_, 0)) for bin_ in {*left, *right})
    return total


def main() -> None:
    """Run, print and write the figures."""
    parser = command_line(
        __doc__, data=Needed(), limit=2400, seed=0, weights=Path, cache=cache_folder(), small=2400, jobs=int, out=Path
    )
    args = parser.parse_args()
    classifier = load(default_bundle())
    everything = data = read_dataset(args.data).labelled()
    order = np.random.default_rng(args.seed).permutation(len(data))[: args.limit]
    kept = np.zeros(len(data), np.bool_)
    kept[order] = True
    data = data.select(kept)
    answered: Any = Answered(classifier, data.paths())
    homes = dealt(data, args.seed)
    table = table_of_all(answered, data)
    panel = Panel.of(table, classifier.bundle.facts.decision.threshold, KEYS)
    truth = dict(zip(KEYS, panel.figures(np.ones(len(table))).tolist(), strict=True))

    def sent(**how: Any) -> list[SiteSummary]:
        return [summarise_site(answered, home, name, **how) for home, name in zip(homes, SITES, strict=True)]

    def row(summaries: Sequence[SiteSummary]) -> dict[str, Any]:
        pooled = pool_sites(summaries, replicates=200, seed=args.seed)
        off = {key: round(pooled.figures[key].value - truth[key], 6) for key in KEYS}
        return {"off": off, "largest_file_kb": round(max(len(each.to_text()) for each in summaries) / 1e3, 1)}

    clear = sent()
    found: dict[str, Any] = {
        "command": f"python benchmarks/laboratories.py --data DATA --limit {args.limit} --seed {args.seed}",
        "machine": describe_machine(), "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cells": len(table), "patient_groups": len(np.unique(table.group)), "joined": truth,
        "by_bins": {str(bins): row(sent(bins=bins)) for bins in BINS},
        "by_epsilon": {}, "membership_auc": {"no noise": attacked(clear, clear)},
    }  # fmt: skip
    for epsilon in BUDGETS:
        noisy = sent(epsilon=epsilon, bins=25)
        found["by_epsilon"][str(epsilon)] = row(noisy)
        found["membership_auc"][f"25 bins, epsilon {epsilon:g}"] = attacked(sent(bins=25), noisy)
    for bins, each in found["by_bins"].items():
        print(f"{bins} bins: AUC off by {each['off']['auc']:+.5f}, largest file {each['largest_file_kb']} kB")
    for epsilon, each in found["by_epsilon"].items():
        print(f"epsilon {epsilon}: AUC off by {each['off']['auc']:+.4f}")
    print("membership:", found["membership_auc"])
    if args.weights is not None:
        found["training"] = training_figures(
            everything, homes_of(everything, args.seed), SITES, args.weights, args.cache, args.jobs, args.small
        )
    report(found, args.out, shown=found.get("training", {}))


if __name__ == "__main__":
    main()
