"""Try changes of a recipe so that no choice sees the patients of the final test.

Two ways, and every trial of benchmarks/search.yaml that was run is in the result, losers too:

- `--way inner`: the training part of one outer group fold only (default: fold 2 of 3, the fold on which the paper's
  networks do worst), divided again into inner group folds. Nothing of the outer fold's test part is seen.
- `--way validation`: all three group folds as they will be tested; what counts is the AUC on the validation part of
  each, patients out of its training part. The test parts are predicted too, into the run folder, and shown only of
  trials that are decided about and named by `--reveal`.

Finished jobs are kept in the runs folder; several processes may share the work. Usage:

    python benchmarks/search.py --data DIR [--way validation] [--runs runs/search] [--trials base colour ...]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from _common import Needed, add_settings, answers_of, command_line, differences, figures_of, pooled, scores_of, turn_at
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.metrics.scores import Scores
from leukoscope.runs.train import train_run
from leukoscope.training.batches import FrameSource
from leukoscope.training.loop import predict
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.runtime import start_runtime

FOLDS = 3
TESTED = "inner.csv"  # the answers of a job on its test part, in its folder
SHOWN = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "subject_auc")


def search_part(manifest: Manifest, fold: int) -> Manifest:
    """The pictures that the inner folds are made of: training and validation part of the outer fold."""
    split = make_split(manifest, "group", fold=fold, folds=FOLDS, seed=0, val_fraction=0.15)
    return manifest.select(np.sort(np.concatenate([split.train, split.val])))


def recipe_of(base: str, changes: dict[str, Any], extra: list[str], fold: int, seed: int) -> Recipe:
    """The recipe of one job."""
    overrides = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in changes.items()]
    overrides = [text.removesuffix("\n...") for text in overrides]
    fixed = [f"split.fold={fold}", f"split.folds={FOLDS}", f"seed={seed}"]
    return load_recipe(base, (*overrides, *extra, *fixed))


def job(manifest: Manifest, recipe: Recipe, folder: Path) -> None:
    """Train one inner fold and write what the network says of the inner test part."""
    with start_runtime(recipe.precision) as runtime:
        started = time.perf_counter()
        run = train_run(manifest, recipe, folder, runtime, cache_folder=cache_folder(), jobs=1)
        cache = open_cache(manifest, recipe.input.preparation, recipe.input.size, cache_folder(), jobs=1)
        source = FrameSource(cache.frames, manifest.labels(), run.split.test, runtime.device)
        logits = predict(run.network()[0].to(runtime.device), source, 256, runtime).numpy().astype(float)
    part = manifest.select(run.split.test)
    scores_of(part, logits).write_csv(folder / TESTED)
    trained = run.training
    assert trained is not None
    facts = {
        "minutes": (time.perf_counter() - started) / 60,
        "machine": trained.machine,
        "parameters": trained.parameters,
    }
    write_json(folder / "job.json", facts | {"history": run.history})


def history(folder: Path) -> list[dict[str, float]]:
    """Figures by epoch of a run, finished or not."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def tested(folders: list[Path]) -> tuple[dict[str, Any], Scores | None]:
    """AUC of each fold's test part, and where all folds are predicted the pooled figures with intervals."""
    there = {fold: folder for fold, folder in enumerate(folders) if (folder / TESTED).exists()}
    found = {fold: figures_of(answers_of(folder, TESTED), ("auc",)) for fold, folder in there.items()}
    row: dict[str, Any] = {"fold_auc": {fold: metrics["auc"]["value"] for fold, metrics in found.items()}}
    if len(found) < FOLDS:
        return row, None
    table = pooled(folders, TESTED)
    return row | {"metrics": figures_of(table, SHOWN)}, table


def summary(
    trials: dict[str, Any], runs: Path, seed: int, revealed: set[str], pairs: list[str]
) -> Iterator[dict[str, Any]]:
    """Figures of every trial that was begun, by fold; test parts of the revealed ones only; then the pairs."""
    tables: dict[str, Scores] = {}
    for name, changes in trials.items():
        folders = [runs / f"{name}-{fold}-seed{seed}" for fold in range(FOLDS)]
        logs = {fold: history(f) for fold, f in enumerate(folders) if (f / "metrics.jsonl").exists()}
        if not logs:
            continue
        row: dict[str, Any] = {
            "trial": name,
            "changes": changes,
            "epochs": {fold: len(log) for fold, log in logs.items()},
            "minutes": sum(each["seconds"] for log in logs.values() for each in log) / 60,
        }
        row |= {key: {fold: log[-1][key] for fold, log in logs.items()} for key in ("loss", "val_loss", "val_auc")}
        if name in revealed:
            figures, table = tested(folders)
            row |= figures
            if table is not None:
                tables[name] = table
        yield row
    for pair in pairs:
        one, _, other = pair.partition(":")
        if {one, other} <= set(tables):
            yield {"pair": f"{one} minus {other}", "differences": differences(tables[other], tables[one], SHOWN)}


def main() -> None:
    """Run the jobs that nobody has run or is running; then write and print what all say."""
    parser = command_line(
        __doc__, data=Needed(), recipe="champion", file=Path(__file__).with_suffix(".yaml"), runs=Path("runs/search"),
        outer_fold=2, seed=0, threads=int, out=Path("docs/figures/search.json"),
    )  # fmt: skip
    parser.add_argument("--trials", nargs="*", help="those to run; none after it: only sum up what is there")
    parser.add_argument("--way", choices=("inner", "validation"), default="inner")
    parser.add_argument("--reveal", nargs="*", default=[], help="trials whose test parts may be looked at now")
    parser.add_argument("--pair", nargs="*", default=[], metavar="ONE:OTHER", help="differences, paired over patients")
    parser.add_argument("--folds", type=int, nargs="*", default=range(FOLDS), help="inner folds to work on")
    add_settings(parser)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    trials = yaml.safe_load(args.file.read_text(encoding="utf-8"))
    whole = read_dataset(args.data).labelled()
    manifest = search_part(whole, args.outer_fold) if args.way == "inner" else whole
    for name in trials if args.trials is None else args.trials:
        for fold in args.folds:
            folder = args.runs / f"{name}-{fold}-seed{args.seed}"
            with turn_at(folder, "job.json") as mine:
                if mine:
                    print(f"{name}, inner fold {fold}", flush=True)
                    recipe = recipe_of(args.recipe, trials[name] or {}, args.settings, fold, args.seed)
                    job(manifest, recipe, folder)
    revealed = set(trials) if args.way == "inner" else set(args.reveal)
    rows = list(summary(trials, args.runs, args.seed, revealed, args.pair))
    context: dict[str, Any] = {"way": args.way, "data": manifest.name, "fingerprint": manifest.fingerprint()}
    context |= {"pictures": len(manifest), "groups": len(set(manifest.groups().tolist())), "folds": FOLDS}
    context |= {"seed": args.seed} | ({"outer_fold": args.outer_fold} if args.way == "inner" else {})
    write_json(args.out, {"search": context, "rows": rows})
    for row in rows:
        if "trial" in row:
            shown = row["fold_auc"] if args.way == "inner" else row["val_auc"]
            every = f"  pooled {row['metrics']['auc']['value']:.3f}" if "metrics" in row else ""
            print(
                f"{row['trial']:20} {'AUC' if args.way == 'inner' else 'validation AUC'} "
                + " ".join(f"{fold}: {auc:.3f}" for fold, auc in shown.items())
                + every
            )


if __name__ == "__main__":
    main()
