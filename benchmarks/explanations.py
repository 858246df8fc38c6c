"""Heat maps of a run by several methods, measured alike: which of them deserves to be the graph's map?

    python benchmarks/explanations.py compare RUN [RUN ...] --cells 24 --out docs/figures/explanation_methods.json
    python benchmarks/explanations.py labels DATA --work WORK --out docs/figures/shuffled_labels.json

`compare` takes the test part of each run and its best weights. Grad-CAM by backward pass must agree with the bundle's
closed form. It needs captum. A way that WORK already holds for the same cells is read from there. `labels` trains one
network twice, short and small, on the same pictures: with their labels, and with the labels in random order. Both
bundles are then audited on the same cells of patients that neither has seen; the second must fail.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attributions import METHODS, reference
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.export import graph_bytes
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Resampling
from leukoscope.models import create_model
from leukoscope.runs.run import Run
from leukoscope.studies.audits.heatmaps.bundle import ask_of, explain_bundle, explain_of, load_cells, relative_of
from leukoscope.studies.audits.heatmaps.cells import side_of
from leukoscope.studies.audits.heatmaps.place import chance, disc_maps, place_figures, random_maps
from leukoscope.studies.audits.heatmaps.report import explanations_text
from leukoscope.studies.audits.heatmaps.road import road
from leukoscope.studies.audits.heatmaps.sanity import maps_of, pearson
from leukoscope.studies.audits.heatmaps.stability import turning_figures
from leukoscope.studies.audits.rules import bracket, mean_estimates
from leukoscope.training.batches import FrameSource
from leukoscope.training.loop import fit
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import start_runtime

ANGLES = (90.0,)
OWN = "closed form (the graph's)"
SHORT = ("input.size=64", "epochs=2")  # of the recipe `champion`: enough to learn the labels, not to be good


def compare(run: Path, count: int, seed: int, work: Path) -> dict[str, Any]:
    """All methods on the same cells of one run's test part."""
    whole = Run.open(run)
    split, bundle = whole.split, whole.bundle()
    classifier = Classifier(bundle, threads=1)
    network = "" if bundle.facts.training is None else bundle.facts.training.model
    model, _ = whole.network()
    facts = classifier.bundle.facts
    cells, _ = load_cells(whole.part("test"), facts.preparation, count=count, seed=seed)
    plan = Resampling.by_group(cells.label, cells.group, seed=seed)
    ask = ask_of(classifier)
    logits = np.concatenate([ask(cells.frames[i : i + 8]) for i in range(0, len(cells), 8)])
    side = side_of(logits)
    ways = {OWN: explain_of(classifier), "less the empty frame": relative_of(classifier)}
    ways |= {method: reference(method, model, facts.input_size) for method in METHODS}
    own = maps_of(cells, ways[OWN])
    shape = (int(own.shape[1]), int(own.shape[2]))
    blind = {
        "random": random_maps(len(cells), shape, seed),
        "centred disc": disc_maps(side, shape, cells.outline.mean()),
    }
    folder = work / f"{network}-{split.protocol}{split.fold}-{count}-{seed}"
    columns: dict[str, dict[str, np.ndarray]] = {}
    for name in (*ways, *blind):
        path = folder / f"{name}.json"
        if not path.exists():
            maps = blind[name] if name in blind else maps_of(cells, ways[name])
            each = place_figures(cells, maps, side) | {"road": road(cells, maps, logits, side, ask, seed=seed).gap}
            if name in ways:
                each |= turning_figures(cells, maps, ways[name], ANGLES)
            if maps.shape == own.shape:
                each["like_closed_form"] = np.array([pearson(a, b) for a, b in zip(maps, own, strict=True)])
            write_json(path, {key: [None if np.isnan(v) else v for v in each[key].tolist()] for key in each})
        columns[name] = {key: np.array(each, float) for key, each in json.loads(path.read_text()).items()}
        shown = mean_estimates(columns[name], plan)
        print(f"{run} {name:<28} " + "  ".join(f"{k} {bracket(v)}" for k, v in shown.items()), flush=True)
    columns["chance"] = chance(cells)
    figures = {name: mean_estimates(each, plan) for name, each in columns.items()}
    beyond = {  # paired: on the same cells, the same draws of patients
        name: mean_estimates({key: each[key] - columns[OWN][key] for key in each if key in columns[OWN]}, plan)
        for name, each in columns.items()
        if name != OWN
    }
    plain = {
        part: {name: {key: one.to_json() for key, one in each.items()} for name, each in value.items()}
        for part, value in (("figures", figures), ("above the graph's map", beyond))
    }
    counts = {"cells": len(cells), "blasts": int(cells.label.sum()), "groups": len(np.unique(cells.group))}
    head = {"network": network, "protocol": split.protocol, "fold": split.fold, **counts, "seed": seed}
    return head | {"angles": list(ANGLES), **plain}


def labels(data: Path, work: Path, count: int, seed: int, sets: list[str]) -> dict[str, Any]:
    """The audit of a network trained on the labels, and of one trained on shuffled labels, on the same cells."""
    recipe = load_recipe("champion", (*SHORT, f"seed={seed}", *sets))
    manifest = read_dataset(data).labelled()
    choice = recipe.split
    split = make_split(manifest, choice.protocol, fold=choice.fold, folds=choice.folds, seed=choice.seed,
                       val_fraction=choice.val_fraction)  # fmt: skip
    preparation, size = recipe.input.preparation, recipe.input.size
    frames = open_cache(manifest, preparation, size, cache_folder(), jobs=1).frames
    truth, groups = manifest.labels(), manifest.groups()
    learned = np.concatenate([split.train, split.val])
    mixed = truth.copy()
    mixed[learned] = np.random.default_rng(seed).permutation(truth[learned])
    cells, _ = load_cells(manifest.select(split.test), preparation, count=count, seed=seed)
    bundles: dict[str, Classifier] = {}
    for name, label in (("labels", truth), ("labels shuffled", mixed)):
        folder = work / f"{name.replace(' ', '-')}-{seed}"
        torch.manual_seed(seed)
        model = create_model(recipe.model.name, **recipe.model.arguments)
        with start_runtime("fp32", "cpu") as runtime:
            train, val = (FrameSource(frames, label, rows, runtime.device, groups) for rows in (split.train, split.val))
            fit(model, recipe, train, val, folder, runtime, on_epoch=print)
        graph = graph_bytes(model.cpu().eval(), size, preparation.frame_size)
        bundle = Bundle.of(graph, folder, name=f"{recipe.model.name}, {name}", preparation=preparation, input_size=size)
        bundles[name] = Classifier(bundle, threads=1)
    found = {}
    for name, classifier in bundles.items():
        other = bundles["labels shuffled"] if name == "labels" else None
        audit = explain_bundle(classifier, cells, shuffled=other, seed=seed)
        print(f"trained on {name}\n{explanations_text(audit)}", flush=True)
        found[name] = audit.to_json()
    facts = {"data": manifest.name, "fingerprint": manifest.fingerprint(), "pictures": len(split.train), "seed": seed}
    return facts | {"recipe": recipe.model_dump(mode="json"), "machine": describe_machine(), "trained on": found}


def main() -> None:
    """Compare ways to explain, or labels with shuffled ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("compare")
    one.add_argument("runs", nargs="+", type=Path)
    two = verbs.add_parser("labels")
    two.add_argument("data", type=Path)
    two.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    for each in (one, two):
        each.add_argument("--cells", type=int, default=60)
        each.add_argument("--work", type=Path, required=True)
        each.add_argument("--out", type=Path)
        each.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.verb == "labels":
        found = labels(options.data, options.work, options.cells, options.seed, options.sets)
        if options.out:
            write_json(options.out, found)
        return
    results = []
    for run in options.runs:
        results.append(compare(run, options.cells, options.seed, options.work))
        if options.out:
            write_json(options.out, {"machine": describe_machine(), "results": results})


if __name__ == "__main__":
    main()
