"""Train and measure the paper's networks on official and on patient-group folds; every row of docs/results.md's table.

Each row is one `leukoscope train` run, so it can also be made alone. Rows that are finished are not made again; a row
that was killed goes on. Usage:

    python benchmarks/paper_models.py --data DIR [--runs runs/paper] [--set input.size=112 --set epochs=12]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _common import Needed, add_settings, command_line, differences, pooled, train, words
from leukoscope.files import write_json
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores

MODELS = ("plain_cnn", "crse_cnn")
PARTS = (("official", 0), ("official", 1), ("group", 0), ("group", 1), ("group", 2))
FOLDS = 3  # as many as the official ones, so that both protocols train on the same share
THRESHOLD = 0.5
SHOWN = ("auc", "f1_weighted", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ece", "subject_auc")


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


def main() -> None:
    """Train what is missing, collect, print the table."""
    parser = command_line(
        __doc__, data=Needed(str), runs=Path("runs/paper"), out=Path("docs/figures/paper_models.json")
    )
    add_settings(parser)
    args = parser.parse_args()
    folders: dict[tuple[str, str, int], Path] = {}
    for protocol, fold in PARTS:
        for model in MODELS:
            words_ = ("--data", args.data, "--recipe", "paper", "--model", model, "--protocol", protocol)
            folders[model, protocol, fold] = train(
                args.runs / f"{model}-{protocol}{fold}", *words_, "--fold", str(fold),
                settings=(f"split.folds={FOLDS}", *args.settings),
            )  # fmt: skip
    tables = {m: pooled([folders[m, *part] for part in PARTS if part[0] == "group"]) for m in MODELS}
    result: dict[str, Any] = {
        "command": "python benchmarks/paper_models.py " + " ".join(f"--set {s}" for s in args.settings),
        "rows": [row(folder) for folder in folders.values()],
        "pooled": {model: pooled_row(table) for model, table in tables.items()},
        "crse_cnn_minus_plain_cnn_pooled": [
            {"metric": key, **each}
            for key, each in differences(
                tables["plain_cnn"], tables["crse_cnn"], SHOWN, threshold=THRESHOLD, names=("first", "second")
            ).items()
        ],
    }
    write_json(args.out, result)
    print("| model | test part | pictures (groups) | AUC | naive interval | F1, weighted | sensitivity | specificity |")
    print("|---|---|---|---|---|---|---|---|")
    for each in result["rows"]:
        print(line(each["model"], f"{each['context']['protocol']} fold {each['context']['fold']}", each))
    for model, each in result["pooled"].items():
        print(line(model, "group, pooled", each))
    for each in result["crse_cnn_minus_plain_cnn_pooled"]:
        print(f"crse_cnn minus plain_cnn, pooled, {each['metric']}: {words(each['difference'])}")


def line(model: str, part: str, each: dict[str, Any]) -> str:
    """One line of the table."""
    m, n, naive = each["metrics"], each["counts"], each["naive"]["auc"]
    shown = [words(m["auc"]), f"{naive['low']:.3f}, {naive['high']:.3f}"]
    shown += [words(m[key]) for key in ("f1_weighted", "sensitivity", "specificity")]
    return f"| {model} | {part} | {n['pictures']} ({n['groups']}) | {' | '.join(shown)} |"


if __name__ == "__main__":
    main()
