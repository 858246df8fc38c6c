"""The folds that all figures of C-NMC 2019 rest on, written down: which patient group is tested in which fold.

    python benchmarks/folds.py --data C-NMC_Leukemia --out docs/figures/folds_cnmc2019.csv

`make_split` draws them with a seed and a library, either of which could change one day; the table says what they were,
and a test holds the code to it.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.files import write_text

FOLDS = (3, 5)
COLUMNS = ("group", "cells", "blasts", *(f"fold_of_{folds}" for folds in FOLDS))


def table(manifest: Manifest) -> list[dict[str, str]]:
    """A row for each patient group: its cells, and the fold that tests it, of three and of five (split seed 0)."""
    labels, groups = manifest.labels(), manifest.groups()
    where: dict[str, dict[str, str]] = {group: {} for group in np.unique(groups).tolist()}
    for folds in FOLDS:
        for fold in range(folds):
            for group in np.unique(groups[make_split(manifest, fold=fold, folds=folds).test]).tolist():
                where[group][f"fold_of_{folds}"] = str(fold)
    return [
        {"group": group, "cells": str((groups == group).sum()), "blasts": str(labels[groups == group].sum()), **found}
        for group, found in where.items()
    ]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/folds_cnmc2019.csv"))
    args = parser.parse_args()
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table(read_dataset(args.data).labelled()))
    write_text(args.out, text.getvalue())
    print(text.getvalue())


if __name__ == "__main__":
    main()
