"""The folds that all figures of C-NMC 2019 rest on, written down: which patient group is tested in which fold.

    python benchmarks/folds.py --data C-NMC_Leukemia --out docs/figures/folds_cnmc2019.csv

`make_split` draws them with a seed and a library, either of which could change one day; the table says what they were,
and a test holds the code to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from _common import Needed, command_line
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_text
from leukoscope.tables import csv_text

FOLDS = (3, 5)
COLUMNS = ("group", "cells", "blasts", *(f"fold_of_{folds}" for folds in FOLDS))


def table(manifest: Manifest) -> list[dict[str, object]]:
    """A row for each patient group: its cells, and the fold that tests it, of three and of five (split seed 0)."""
    labels, groups = manifest.labels(), manifest.groups()
    where: dict[str, dict[str, object]] = {group: {} for group in np.unique(groups).tolist()}
    for folds in FOLDS:
        for fold in range(folds):
            for group in np.unique(groups[make_split(manifest, fold=fold, folds=folds).test]).tolist():
                where[group][f"fold_of_{folds}"] = fold
    return [
        {"group": group, "cells": int((groups == group).sum()), "blasts": int(labels[groups == group].sum()), **found}
        for group, found in where.items()
    ]


def main() -> None:
    """Write the table."""
    args = command_line(__doc__, data=Needed(), out=Path("docs/figures/folds_cnmc2019.csv")).parse_args()
    rows = table(read_dataset(args.data).labelled())
    write_text(args.out, text := csv_text(COLUMNS, ([row[name] for name in COLUMNS] for row in rows)))
    print(text)


if __name__ == "__main__":
    main()
