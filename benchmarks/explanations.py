"""Heat maps of a run by several methods, measured alike: which of them deserves to be the graph's map?

    python benchmarks/explanations.py compare RUN [RUN ...] --cells 24 --out docs/figures/explanation_methods.json
    python benchmarks/explanations.py shuffle DATA shuffled.csv

`compare` takes the test part of each run and its best weights. Grad-CAM by backward pass must agree with the bundle's
closed form. Integrated gradients and occlusion need captum and are left out where it is absent. `shuffle` writes a
manifest of DATA, its labels shuffled over the pictures: `leukoscope train --data shuffled.csv` then gives the bundle
that `leukoscope audit explanations --shuffled` takes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.bundle.read import read_bundle
from leukoscope.data.manifest import Manifest
from leukoscope.data.readers import read_dataset
from leukoscope.errors import MissingExtraError
from leukoscope.evaluation.intervals import Resampling
from leukoscope.evaluation.rules import mean_estimates, words
from leukoscope.evaluation.saliency.cells import side_of
from leukoscope.evaluation.saliency.energy import chance, disc_maps, place_figures, random_maps
from leukoscope.evaluation.saliency.faithfulness import road
from leukoscope.evaluation.saliency.sanity import maps_of
from leukoscope.evaluation.saliency.similarity import pearson
from leukoscope.evaluation.saliency.stability import turning_figures
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.studies.attributions import CAPTUM_METHODS, METHODS, reference
from leukoscope.studies.explaining import ask_of, explain_of, load_cells, relative_of
from leukoscope.studies.measuring import read_run
from leukoscope.training.restore import restore

ANGLES = (90.0,)


def compare(run: Path, count: int, seed: int) -> dict[str, Any]:
    """All methods on the same cells of one run's test part."""
    _, manifest, split = read_run(run)
    classifier = Classifier(read_bundle(run / "bundle"), threads=1)
    _, model, _ = restore(run)
    facts = classifier.bundle.facts
    cells = load_cells(manifest.select(split.test), facts.preparation, count=count, seed=seed).cells
    plan = Resampling.by_group(cells.label, cells.group, seed=seed)
    ask = ask_of(classifier)
    logits = np.concatenate([ask(cells.frames[i : i + 8]) for i in range(0, len(cells), 8)])
    side = side_of(logits)
    ways = {"closed form (the graph's)": explain_of(classifier), "less the empty frame": relative_of(classifier)}
    for method in (*METHODS, *CAPTUM_METHODS):
        try:
            ways[method] = reference(method, model, facts.input_size)
        except MissingExtraError as error:
            print(f"{method} left out: {error}")
    found: dict[str, Any] = {"chance": mean_estimates(chance(cells), plan)}
    own = maps_of(cells, ways["closed form (the graph's)"])
    shape = (int(own.shape[1]), int(own.shape[2]))
    blind = {
        "random": random_maps(len(cells), shape, seed),
        "centred disc": disc_maps(side, shape, cells.outline.mean()),
    }
    for name in (*ways, *blind):
        maps = blind[name] if name in blind else maps_of(cells, ways[name])
        columns = place_figures(cells, maps, side) | {"road": road(cells, maps, logits, side, ask, seed=seed).gap}
        if name in ways:
            columns |= turning_figures(cells, maps, ways[name], ANGLES)
        if maps.shape == own.shape:
            columns["like_closed_form"] = np.array([pearson(a, b) for a, b in zip(maps, own, strict=True)])
        found[name] = mean_estimates(columns, plan)
        print(f"{run.name} {name:<28} " + "  ".join(f"{k} {words(v)}" for k, v in found[name].items()), flush=True)
    plain = {name: {key: each.as_dict() for key, each in figures.items()} for name, figures in found.items()}
    counts = {"cells": len(cells), "blasts": int(cells.label.sum()), "groups": len(np.unique(cells.group))}
    return {"run": run.name, **counts, "seed": seed, "angles": list(ANGLES), "figures": plain}


def shuffled(data: Manifest, seed: int) -> Manifest:
    """The same pictures with their labels in random order."""
    labels = np.random.default_rng(seed).permutation(data.labels()).tolist()
    records = tuple(replace(record, label=label) for record, label in zip(data.records, labels, strict=True))
    return replace(data, records=records, name=f"{data.name}-shuffled")


def main() -> None:
    """Compare or shuffle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("compare")
    one.add_argument("runs", nargs="+", type=Path)
    one.add_argument("--cells", type=int, default=24)
    one.add_argument("--out", type=Path)
    two = verbs.add_parser("shuffle")
    two.add_argument("data", type=Path)
    two.add_argument("out", type=Path)
    for each in (one, two):
        each.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.verb == "shuffle":
        shuffled(read_dataset(options.data).labelled(), options.seed).write_csv(options.out)
        return
    results = []
    for run in options.runs:
        results.append(compare(run, options.cells, options.seed))
        if options.out:
            write_json(options.out, {"machine": describe_machine(), "results": results})


if __name__ == "__main__":
    main()
