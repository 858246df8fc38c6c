"""Try changes of a recipe on inner folds, so that no choice sees the patients of the final test.

The search is given the training part of one outer group fold only (default: fold 2 of 3, the fold on which the paper's
networks do worst) and divides it again into inner group folds. Every trial of benchmarks/search.yaml that was run is
in the result, losers too. Finished jobs are kept in the runs folder; several processes may share the work. Usage:

    python benchmarks/search.py --data DIR [--runs runs/search] [--trials base colour ...] [--set epochs=12]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout

from leukoscope.cli._paths import cache_folder
from leukoscope.data.cache import open_cache
from leukoscope.data.manifest import Manifest
from leukoscope.data.readers import read_dataset
from leukoscope.data.splits import make_split
from leukoscope.evaluation.compare import compare
from leukoscope.evaluation.evaluate import evaluate
from leukoscope.evaluation.table import Scores
from leukoscope.files import write_json
from leukoscope.training.loop import predict
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.run import train_run
from leukoscope.training.runtime import start_runtime
from leukoscope.training.source import FrameSource

OUTER, INNER = 3, 3
SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "subject_auc")


def search_part(data: str, fold: int) -> Manifest:
    """The pictures that the search may see: training and validation part of the outer fold."""
    manifest = read_dataset(data).labelled()
    split = make_split(manifest, "group", fold=fold, folds=OUTER, seed=0, val_fraction=0.15)
    return manifest.select(np.sort(np.concatenate([split.train, split.val])))


def recipe_of(base: str, changes: dict[str, Any], extra: list[str], fold: int, seed: int) -> Recipe:
    """The recipe of one job."""
    overrides = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in changes.items()]
    overrides = [text.removesuffix("\n...") for text in overrides]
    fixed = [f"split.fold={fold}", f"split.folds={INNER}", f"seed={seed}"]
    return load_recipe(base, (*overrides, *extra, *fixed))


def job(manifest: Manifest, recipe: Recipe, folder: Path) -> None:
    """Train one inner fold and write what the network says of the inner test part."""
    with start_runtime(recipe.precision) as runtime:
        started = time.perf_counter()
        run = train_run(manifest, recipe, folder, runtime, cache_folder=cache_folder(), jobs=1)
        cache = open_cache(manifest, recipe.input.preparation, recipe.input.size, cache_folder(), jobs=1)
        source = FrameSource(cache.frames, manifest.labels(), run.split.test, runtime.device)
        logits = predict(run.model.to(runtime.device), source, 256, runtime).numpy().astype(float)
    part = manifest.select(run.split.test)
    Scores(
        path=tuple(record.path for record in part.records), label=part.labels(), logit=logits,
        probability=1 / (1 + np.exp(-logits)), subject=part.subjects(), group=part.groups(),
    ).write_csv(folder / "inner.csv")  # fmt: skip
    facts = {"minutes": (time.perf_counter() - started) / 60, "machine": run.machine, "parameters": run.parameters}
    write_json(folder / "job.json", facts | {"history": run.fit.history})


def pooled(folders: list[Path]) -> Scores:
    """The inner test parts together."""
    tables = [Scores.read_csv(folder / "inner.csv") for folder in folders]
    columns = ("label", "probability", "logit", "subject", "group")
    return Scores(
        path=tuple(p for t in tables for p in t.path),
        **{key: np.concatenate([getattr(t, key) for t in tables]) for key in columns},
    )


def summary(trials: dict[str, Any], runs: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Figures of every trial whose inner folds are all there, and of each against `base`, paired over groups."""
    folders = {name: [runs / f"{name}-{fold}-seed{seed}" for fold in range(INNER)] for name in trials}
    tables = {name: pooled(f) for name, f in folders.items() if all((each / "job.json").exists() for each in f)}
    for name, table in tables.items():
        found = evaluate(table, threshold=0.5, protocol="group").as_dict()
        parts = [Scores.read_csv(folder / "inner.csv") for folder in folders[name]]
        row = {
            "trial": name,
            "changes": trials[name],
            "metrics": {key: found["metrics"][key] for key in SHOWN},
            "fold_auc": [
                evaluate(p, threshold=0.5, protocol="group").as_dict()["metrics"]["auc"]["value"] for p in parts
            ],
            "jobs": [json.loads((folder / "job.json").read_text()) for folder in folders[name]],
        }
        row["minutes"] = sum(each["minutes"] for each in row["jobs"])
        row["machine"], row["parameters"] = row["jobs"][0]["machine"], row["jobs"][0]["parameters"]
        del row["jobs"]
        if name != "base" and "base" in tables:
            differences = compare(tables["base"], table, thresholds=(0.5, 0.5))
            row["minus_base"] = {d.key: d.difference.as_dict() for d in differences if d.key in SHOWN}
        yield row


def main() -> None:
    """Run the jobs that nobody has run or is running; then write and print what all say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="champion")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--trials", nargs="*")
    parser.add_argument("--runs", type=Path, default=Path("runs/search"))
    parser.add_argument("--outer-fold", type=int, default=2)
    parser.add_argument("--folds", type=int, nargs="*", default=range(INNER), help="inner folds to work on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/search.json"))
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    trials = yaml.safe_load(args.file.read_text(encoding="utf-8"))
    manifest = search_part(args.data, args.outer_fold)
    for name in args.trials or trials:
        for fold in args.folds:
            folder = args.runs / f"{name}-{fold}-seed{args.seed}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(folder.with_suffix(".lock"), timeout=0):
                    if not (folder / "job.json").exists():
                        print(f"{name}, inner fold {fold}", flush=True)
                        job(
                            manifest, recipe_of(args.recipe, trials[name] or {}, args.settings, fold, args.seed), folder
                        )
            except Timeout:
                continue
    rows = list(summary(trials, args.runs, args.seed))
    context = {"data": manifest.name, "pictures": len(manifest), "groups": len(set(manifest.groups().tolist()))}
    write_json(args.out, {"search": context | {"outer_fold": args.outer_fold, "inner_folds": INNER}, "rows": rows})
    for row in rows:
        figures = "  ".join(f"{key} {row['metrics'][key]['value']:.3f}" for key in SHOWN)
        print(f"{row['trial']:12} {figures}  folds {' '.join(f'{a:.3f}' for a in row['fold_auc'])}")


if __name__ == "__main__":
    main()
