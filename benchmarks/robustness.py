"""Decisions under another finish: cells of held-out patients asked again, and normal cells of other laboratories.

    python benchmarks/robustness.py reference --data DATA       statistics of C-NMC cells into the package
    python benchmarks/robustness.py cells RUN... --data DATA --into DIR [--fold K] [--cells 300] [--places 12]
    python benchmarks/robustness.py foreign RUN... --data DATA --into DIR [--pictures 60]
    python benchmarks/robustness.py report --into DIR --out docs/figures/robustness.json

RUN are the group folds of one or more networks on one data set (`leukoscope train --protocol group --fold K`), DATA the
folder that holds cnmc2019, bccd and pbc. `cells` and `foreign` write as they go, go on where they were stopped, and may
run side by side for different folds. The report says how many cells it rests on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from _common import command_line
from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import limit
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.smears import normalise
from leukoscope.smears.normalise import StainReference, StainStatistics, read_reference, stain_statistics
from robust.ask import Fold, Row, ask_again, ask_foreign, backgrounds, collect, read_folds
from robust.report import consistency_figures, foreign_figures

SEED = 0
REFERENCE_CELLS = 300
WHITE = np.full(3, 255.0)  # C-NMC 2019 shows no bare ground: nominal white stands for its light
KINDS = {"pbc lymphocyte": "pbc/lymphocyte", "pbc monocyte": "pbc/monocyte", "bccd": "bccd/JPEGImages"}


def reference(data: Path) -> StainReference:
    """Medians over cells, one of each patient group before a second of any, of each cell's own statistics."""
    part = limit(read_dataset(data / "cnmc2019"), REFERENCE_CELLS, SEED)
    found: list[StainStatistics] = []
    for path in part.paths():
        rgb = read_picture(path).rgb
        pixels = rgb[cell_mask(rgb)]
        found.append(stain_statistics(pixels[:: max(1, len(pixels) // 4000)], ground=WHITE))
    values = {name: np.median([getattr(each, name) for each in found], axis=0) for name in ("ground", "mean", "spread")}
    # Pooled cells also differ among themselves: that spread belongs to a field's pixels too.
    values["spread"] = np.sqrt(values["spread"] ** 2 + np.var([each.mean for each in found], axis=0))
    statistics = StainStatistics(**{name: np.round(value, 5).tolist() for name, value in values.items()})
    command = "python benchmarks/robustness.py reference --data DATA"
    return StainReference(statistics, f"cnmc2019, {len(part)} cells by datasets.split.limit", len(found), command)


def of_fold(folds: list[Fold], number: int | None) -> list[Fold]:
    """All folds, or one."""
    return [fold for fold in folds if number in {None, fold.number}]


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__, data=Path, into=Path, out=Path, fold=int, cells=300, places=12, pictures=60)
    parser.add_argument("step", choices=("reference", "cells", "foreign", "report"))
    parser.add_argument("runs", nargs="*", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.step == "reference":
        target = Path(normalise.__file__).parent / normalise.REFERENCE_FILE
        write_json(args.out or target, reference(args.data).to_json())
    elif args.step == "cells":
        folds = of_fold(read_folds(args.runs, args.cells, SEED), args.fold)
        places = backgrounds(args.data, args.places, SEED)
        for fold in folds:
            known = read_reference()

            def made(start: int, fold: Fold = fold, known: StainReference = known) -> Iterator[list[Row]]:
                later = fold.manifest.select(np.arange(start, len(fold.manifest)))
                return ask_again(Fold(fold.number, later, fold.classifiers), places, known, SEED)

            collect(args.into / f"cells-{fold.number}.jsonl", made)
    elif args.step == "foreign":
        folds = of_fold(read_folds(args.runs, 1, SEED), args.fold)
        for name, folder in KINDS.items():
            paths = sorted((args.data / folder).iterdir())
            order = np.random.default_rng(SEED).permutation(len(paths))[: args.pictures]
            chosen = [paths[i] for i in order]

            def asked(start: int, chosen: list[Path] = chosen, one: bool = name != "bccd") -> Iterator[list[Row]]:
                return ask_foreign(chosen[start:], folds, read_reference(), one=one)

            collect(args.into / f"foreign-{name.replace(' ', '-')}.jsonl", asked)
    else:
        figures = {
            "machine": describe_machine(),
            "seed": SEED,
            "consistency": consistency_figures(sorted(args.into.glob("cells-*.jsonl"))),
            "foreign": foreign_figures(sorted(args.into.glob("foreign-*.jsonl"))),
        }
        write_json(args.out, figures)
        print(json.dumps(figures, indent=1)[:4000])


if __name__ == "__main__":
    main()
