"""Both audits of the bundles of runs, each on the test part of its run, side by side.

    python benchmarks/audits.py RUN [RUN ...] --work WORK --out docs/figures/audits.json [--masks DRAWN]

What was done is kept in WORK, one folder for each run, number of cells and seed: a stopped command goes on there, and a
later one adds to it. The same as `leukoscope audit` on patients that the bundle has not seen. Under `over folds` is the
plain mean over the runs of a network, which have different patients and different weights; no interval goes with it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from _common import Needed, command_line
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.runs.run import Run
from leukoscope.studies.audits.audit import audit_cues, audit_heat_maps, part_of


def audit_run(run: Path, options: argparse.Namespace) -> tuple[str, str, dict[str, Any]]:
    """Network, name and what both audits found."""
    whole = Run.open(run)
    split, bundle = whole.split, whole.bundle()
    training = bundle.facts.training
    network = whole.recipe.model.name if training is None else training.model
    name = f"{network}, {split.protocol} fold {split.fold}"
    part = part_of(bundle, whole.dataset, test=whole.part("test"))
    classifier = Classifier(bundle, threads=1)
    seed = options.seed
    found: dict[str, Any] = {"seen": part.seen}
    for kind, count in (("shortcuts", options.varied), ("explanations", options.explained)):
        folder = options.work / f"{name.replace(', ', '-').replace(' ', '_')}-{count}-{seed}"
        path = folder / f"{kind}.json"
        if not path.exists():
            if kind == "shortcuts":
                text = audit_cues(classifier, part, folder, count=count, seed=seed).text
            else:
                text = audit_heat_maps(classifier, part, folder, count=count, masks=options.masks, seed=seed).text
            print(f"{name}, {kind}\n{text}\n", flush=True)
        found[kind] = json.loads(path.read_text())
    return network, name, found


def over_folds(each: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of each figure that all runs of a network have."""
    flat = [dict(_values("", run)) for run in each]
    shared = set.intersection(*(set(run) for run in flat))
    return {key: float(np.mean([run[key] for run in flat])) for key in flat[0] if key in shared}


def _values(at: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, dict) and "value" in value:
        return [] if value["value"] is None else [(at, value["value"])]
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _values(f"{at}/{key}" if at else key, each)]
    if isinstance(value, list) and at.endswith("randomised"):  # the uppermost layer, and all of them
        return [*_values(f"{at}/top", value[0]), *_values(f"{at}/all", value[-1])] if value else []
    return []


def main() -> None:
    """Audit, print, write as it goes."""
    options = command_line(  # explained: cells of each run whose maps are tested; varied: asked about without a cue
        __doc__, "runs+", work=Needed(), out=Path, explained=100, varied=300, masks=Path, seed=0
    ).parse_args()
    runs: dict[str, Any] = {}
    networks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in options.runs:
        network, name, found = audit_run(run, options)
        runs[name] = found
        networks[network].append(found)
        if options.out:
            means = {key: over_folds(each) for key, each in networks.items() if len(each) > 1}
            write_json(options.out, {"runs": runs, "over folds": means})


if __name__ == "__main__":
    main()
