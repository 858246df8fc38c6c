"""The paper at its own size: recipe `paper` whole (224 px, at most 50 epochs, its early stopping), nothing shortened.

`plain_cnn`, `crse_cnn`, and one pre-trained comparator that can be had (EfficientNet-Lite0, fine-tuned whole, without
CLAHE, as the paper does its five), each on the paper's own split (pictures drawn 80:20) and on one fold of five clean
patient groups. One run at a time, each row written as it ends; started again, it goes on where it was stopped. Then
`leukoscope reproduce paper --folds 5 --runs RUNS --no-train` decides about the claims. Usage:

    python benchmarks/paper_full.py --data C-NMC_Leukemia --weights tf_efficientnet_lite0.safetensors --runs RUNS
"""

from __future__ import annotations

import json
from pathlib import Path

from _common import Needed, command_line, train, words
from leukoscope.files import write_json
from leukoscope.machine import describe_machine

FOLDS = 5  # pictures 80:20
PARTS = ("picture", "group")
CUSTOM = ("plain_cnn", "crse_cnn")
COMPARATOR = "timm:tf_efficientnet_lite0"
SHOWN = ("accuracy", "auc", "sensitivity", "specificity", "f1_blast", "f1_weighted")


def main() -> None:
    """Train what is missing, then the table."""
    parser = command_line(__doc__, data=Needed(str), weights=Needed(str), runs=Path("runs/paper-full"), out=Path)
    args = parser.parse_args()
    rows = []
    for model in (*CUSTOM, COMPARATOR):
        for part in PARTS:
            told = ["--data", args.data, "--recipe", "paper", "--model", model, "--protocol", part, "--fold", "0"]
            settings = [f"split.folds={FOLDS}"]
            if model == COMPARATOR:
                told += ["--weights", args.weights]
                settings.append("input.preparation.clahe=null")
            run = train(args.runs / f"{model.rpartition(':')[2]}-{part}0", *told, settings=settings)
            found = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
            epochs = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
            figures = {key: found["metrics"][key] for key in SHOWN}
            rows.append({"model": model, "part": part, "epochs": epochs, "counts": found["counts"], "metrics": figures})
            print(f"| {model} | {part} | {epochs} | {' | '.join(words(figures[key]) for key in SHOWN)} |", flush=True)
            if args.out is not None:
                write_json(args.out, {"machine": describe_machine(), "rows": rows})


if __name__ == "__main__":
    main()
