"""White cells under other stains: how many are found, by half, of the fields with boxes of two laboratories.

`txl-pbc-raabin` has purple red cells; its halves were drawn once with a fixed seed, and the field's own stain axis was
made on the first of them. Its boxes were drawn half by machine: cells without a box count against the precision.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from fields_truth import SEED, Box, bccd, halves, match, ratio
from leukoscope.cells.read import read_picture
from leukoscope.smears import find_cells
from leukoscope.smears.axis import UNUSUAL

WHITE, RED = 0, 1  # classes in the labels


def raabin(folder: Path) -> list[dict[str, Any]]:
    """What is found in each field, with its boxes."""
    rows = []
    for path in sorted((folder / "images").glob("*.jpg")):
        rgb = read_picture(path).rgb
        height, width = rgb.shape[:2]
        boxes: dict[int, list[Box]] = {0: [], 1: [], 2: []}
        for line in (folder / "labels" / f"{path.stem}.txt").read_text(encoding="ascii").split("\n"):
            if line.strip():
                name, *place = line.split()[:5]
                x, y, w, h = (float(value) * side for value, side in zip(place, (width, height) * 2, strict=True))
                boxes[int(name)].append((round(x - w / 2), round(y - h / 2), round(x + w / 2), round(y + h / 2)))
        start = time.process_time()
        finding = find_cells(rgb)
        spent = time.process_time() - start
        truth = {"WBC": boxes[WHITE], "RBC": boxes[RED]}
        rows.append({"name": path.stem, "finding": finding, "truth": truth, "s": spent})
    return rows


def figures(rows: list[dict[str, Any]], keep: list[int]) -> dict[str, Any]:
    """Recall and precision at an overlap of 0.5 with intervals, of the fields kept."""
    table, overlaps, doubted = [], [], []
    for row in (rows[i] for i in keep):
        found = [(x, y, x + w, y + h) for x, y, w, h in (cell.box for cell in row["finding"].cells)]
        good, beside, missed = match(found, row["truth"]["WBC"])
        table.append((len(good), len(found), len(row["truth"]["WBC"])))
        overlaps += good
        doubted.append((UNUSUAL in row["finding"].warnings, bool(missed or beside)))
    good, found, truth = np.array(table).T
    warned = np.array(doubted)
    return {
        "fields": len(keep),
        "white_cells": int(truth.sum()),
        "recall": ratio(good, truth),
        "precision": ratio(good, found),
        "median_overlap": round(float(np.median(overlaps)), 3),
        "warned": int(warned[:, 0].sum()),
        "warned_of_these_wrong": int(warned.all(axis=1).sum()),
        "not_warned_wrong": int((warned[:, 1] & ~warned[:, 0]).sum()),
        "with_scale": int(sum(rows[i]["finding"].ruler.um_per_px is not None for i in keep)),
        "seconds_a_field": round(float(np.median([rows[i]["s"] for i in keep])), 3),
    }


def stains(data: Path) -> dict[str, Any]:
    """Both sets with boxes, each half by itself."""
    rows = raabin(data / "txl-pbc-raabin")
    order = np.random.default_rng(SEED).permutation(len(rows)).tolist()
    middle = len(rows) // 2
    others = bccd(data / "bccd")
    return {
        "txl-pbc-raabin": {
            "held back (reported)": figures(rows, order[middle:]),
            "made on": figures(rows, order[:middle]),
        },
        "bccd": {name: figures(others, keep) for name, keep in halves(others).items()},
    }
