"""The whole table of networks on five clean folds: three seeds, both trunks, frozen, paired and fine-tuned.

    python benchmarks/whole_table.py --data C-NMC_Leukemia --weights WEIGHTS --runs RUNS [--rows eye_lite0 pair_lite0] \
        [--device cuda] [--out whole_table.json]

WEIGHTS is the folder that holds tf_efficientnet_lite0.safetensors and tf_efficientnet_lite2.safetensors. It takes hours
on an accelerator and days on two cores; started again, it goes on where it was stopped. Each row is the mean logit of
its seeds, each cell answered by networks that never saw its patient; differences from the first row are paired over
patient groups. --limit, --folds and --epochs make a short trial of it, whose figures say nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import Needed, command_line, differences, figures_of, pooled, report, train, words
from afterwards import mean_of  # the script beside this one
from leukoscope.metrics.scores import Scores

SHOWN = ("auc", "f1_weighted", "sensitivity", "specificity", "ece", "subject_auc")
LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"


@dataclass(frozen=True, slots=True)
class Row:
    """How `leukoscope train` makes a row.

    Attributes:
        words: of the command.
        settings: of `--set`.
        trunk: whose published weights it starts from, if any.
        random: whether a seed changes it; where nothing is drawn, one seed is enough.
    """

    words: tuple[str, ...]
    settings: tuple[str, ...] = ()
    trunk: str | None = None
    random: bool = True


def _of(recipe: str, trunk: str, *, random: bool = True) -> Row:
    return Row(("--recipe", recipe), (f"model.arguments.trunk={trunk}",), trunk, random)


def _tuned(trunk: str) -> Row:
    return Row(("--recipe", "transfer", "--model", f"timm:{trunk}"), (), trunk)


ROWS = {
    "compact_cnn": Row(("--recipe", "champion")),
    "crse_cnn": Row(("--recipe", "paper", "--model", "crse_cnn")),
    "eye_lite0": _of("eye", LITE0, random=False),
    "eye_lite2": _of("eye", LITE2, random=False),
    "pair_lite0": _of("pair", LITE0),
    "pair_lite2": _of("pair", LITE2),
    "tuned_lite0": _tuned(LITE0),
    "tuned_lite2": _tuned(LITE2),
}


def main() -> None:
    """Train what is missing, then the table."""
    parser = command_line(
        __doc__, data=Needed(str), weights=Needed(), runs=Path("runs/whole-table"), rows=tuple(ROWS), device=str,
        seeds=3, folds=5, epochs=int, limit=int, out=Path,
    )  # fmt: skip
    args = parser.parse_args()
    extra = [f"--{key}={value}" for key in ("device", "epochs", "limit") if (value := getattr(args, key)) is not None]
    tables: dict[str, Scores] = {}
    found: dict[str, Any] = {}
    for name in args.rows:
        row = ROWS[name]
        told = [*row.words, "--data", args.data, *extra]
        if row.trunk is not None:
            told += ["--weights", str(args.weights / f"{row.trunk}.safetensors")]
        by_seed, minutes = [], 0.0
        for seed in range(args.seeds if row.random else 1):
            runs = [
                train(args.runs / f"{name}-{fold}-{seed}", *told, "--fold", str(fold), "--seed", str(seed),
                      settings=(f"split.folds={args.folds}", *row.settings))
                for fold in range(args.folds)
            ]  # fmt: skip
            by_seed.append(pooled(runs))
            lines = [line for run in runs for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
            minutes += sum(json.loads(line)["seconds"] for line in lines) / 60
        tables[name] = mean_of(by_seed)
        first = next(iter(tables))
        found[name] = {
            "figures": figures_of(tables[name], SHOWN), "seeds": len(by_seed), "minutes": minutes,
            "by_seed": [figures_of(table, ("auc", "f1_weighted")) for table in by_seed],
            f"minus_{first}": differences(tables[first], tables[name], SHOWN) if name != first else None,
        }  # fmt: skip
        print(f"| {name} | {' | '.join(words(found[name]['figures'][key]) for key in SHOWN)} |", flush=True)
    report(
        {"data": args.data, "folds": args.folds, "limit": args.limit, "epochs": args.epochs, "rows": found}, args.out
    )


if __name__ == "__main__":
    main()
