"""Train and measure the paper's networks on official and on patient-group folds; every row of docs/results.md's table.

Each row is one `leukoscope train` run, so it can also be made alone. Rows that are finished are not made again; a row
that was killed goes on. Usage:

    python benchmarks/paper_models.py --data DIR [--runs runs/paper] [--set input.size=112 --set epochs=12]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.files import write_json
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.panel import compare
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores

MODELS = ("plain_cnn", "crse_cnn")
PARTS = (("official", 0), ("official", 1), ("group", 0), ("group", 1), ("group", 2))
FOLDS = 3  # as many as the official ones, so that both protocols train on the same share
THRESHOLD = 0.5
SHOWN = ("auc", "f1_weighted", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ece", "subject_auc")


def train(data: str, runs: Path, model: str, part: tuple[str, int], settings: list[str]) -> Path:
    """Make one row; returns its run folder."""
    protocol, fold = part
    folder = runs / f"{model}-{protocol}{fold}"
    if not (folder / "evaluation" / "metrics.json").exists():
        command = [sys.executable, "-m", "leukoscope", "train", "--data", data, "--recipe", "paper", "--model", model]
        command += ["--protocol", protocol, "--fold", str(fold), "--out", str(folder), "--set", f"split.folds={FOLDS}"]
        for setting in settings:
            command += ["--set", setting]
        print("$", *command[1:], flush=True)
        subprocess.run(command, check=True)
    return folder


def row(folder: Path) -> dict[str, object]:
    """Figures of one run."""
    found = json.loads((folder / "evaluation" / "metrics.json").read_text())
    facts = json.loads((folder / "bundle" / "bundle.json").read_text())["training"]
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "model": facts["model"],
        "context": found["context"],
        "counts": found["counts"],
        "metrics": {key: found["metrics"][key] for key in SHOWN},
        "naive": {key: found["naive_picture_intervals"].get(key) for key in SHOWN},
        "worst_subject": found["worst_subject"],
        "notes": found["notes"],
        "epochs": len(history),
        "best_epoch": min(history, key=lambda h: h["val_loss"])["epoch"],
    }


def pooled(folders: list[Path]) -> Scores:
    """The test parts of all folds together: each picture judged by the network that never saw its group.

    Ranks across networks are compared here too, so the pooled AUC also carries how well the folds agree in scale.
    """
    tables = [Scores.read_csv(f / "evaluation" / "predictions.csv") for f in folders]
    columns = ("label", "probability", "logit", "subject", "group")
    return Scores(
        path=tuple(p for t in tables for p in t.path),
        **{key: np.concatenate([getattr(t, key) for t in tables]) for key in columns},
    )


def pooled_row(scores: Scores) -> dict[str, object]:
    """Figures of a pooled table."""
    found = evaluate(scores, Provenance(protocol="group"), threshold=THRESHOLD).to_json()
    return {
        "counts": found["counts"],
        "metrics": {key: found["metrics"][key] for key in SHOWN},
        "naive": {key: found["naive_picture_intervals"].get(key) for key in SHOWN},
        "worst_subject": found["worst_subject"],
        "notes": found["notes"],
    }


def paired(first: Scores, second: Scores) -> list[dict[str, object]]:
    """Second minus first on the same pictures, with paired intervals over patient groups."""
    return [
        {"metric": d.key, "first": d.first, "second": d.second, "difference": d.difference.to_json()}
        for d in compare(first, second, thresholds=(THRESHOLD, THRESHOLD))
        if d.key in SHOWN
    ]


def cell(each: dict[str, float | None]) -> str:
    """One figure of the table."""
    if each["value"] is None:
        return "undefined"
    ends = "no interval" if each["low"] is None else f"{each['low']:.3f}, {each['high']:.3f}"
    return f"{each['value']:.3f} [{ends}]"


def main() -> None:
    """Train what is missing, collect, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"))
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/figures/paper_models.json"))
    args = parser.parse_args()
    folders: dict[tuple[str, str, int], Path] = {}
    for part in PARTS:
        for model in MODELS:
            folders[model, *part] = train(args.data, args.runs, model, part, args.settings)
    tables = {m: pooled([folders[m, *part] for part in PARTS if part[0] == "group"]) for m in MODELS}
    result = {
        "command": "python benchmarks/paper_models.py " + " ".join(f"--set {s}" for s in args.settings),
        "rows": [row(folder) for folder in folders.values()],
        "pooled": {model: pooled_row(table) for model, table in tables.items()},
        "crse_cnn_minus_plain_cnn_pooled": paired(tables["plain_cnn"], tables["crse_cnn"]),
    }
    write_json(args.out, result)
    print("| model | test part | pictures (groups) | AUC | naive interval | F1, weighted | sensitivity | specificity |")
    print("|---|---|---|---|---|---|---|---|")
    for each in result["rows"]:
        print(line(each["model"], f"{each['context']['protocol']} fold {each['context']['fold']}", each))
    for model, each in result["pooled"].items():
        print(line(model, "group, pooled", each))
    for each in result["crse_cnn_minus_plain_cnn_pooled"]:
        print(f"crse_cnn minus plain_cnn, pooled, {each['metric']}: {cell(each['difference'])}")


def line(model: str, part: str, each: dict[str, Any]) -> str:
    """One line of the table."""
    m, n, naive = each["metrics"], each["counts"], each["naive"]["auc"]
    shown = [cell(m["auc"]), f"{naive['low']:.3f}, {naive['high']:.3f}"]
    shown += [cell(m[key]) for key in ("f1_weighted", "sensitivity", "specificity")]
    return f"| {model} | {part} | {n['pictures']} ({n['groups']}) | {' | '.join(shown)} |"


if __name__ == "__main__":
    main()
