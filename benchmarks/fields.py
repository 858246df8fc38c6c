"""Fields: white cells found, the ruler, kinds of pictures, cost of a 5 MP field; against boxes and masks drawn by hand.

Run: python benchmarks/fields.py --data DIR [--out FILE] [--parts white ruler kind masks cost stains]
DIR holds bccd, txl-pbc-raabin, pbc, cnmc2019 and wbc-seg. Constants were chosen on bccd files of even number; odd ones
are reported. Intervals: bootstrap over fields; 21 of the 364 overlap another one, so they are a little too narrow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from _common import command_line
from fields_ruler import ruler
from fields_stains import stains
from fields_truth import SEED, bccd, halves, match, ratio
from leukoscope._version import __version__
from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.smears import find_cells, kind_of
from leukoscope.smears.find import Finding, find_in_crop


def white_cells(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall and precision at an overlap of 0.5; every miss and every extra by name."""
    table = []
    for row in rows:
        found = [(x, y, x + w, y + h) for x, y, w, h in (cell.box for cell in row["finding"].cells)]
        overlapping, beside, missed = match(found, row["truth"]["WBC"])
        border = sum(min(b[0], b[1]) <= 2 or b[2] >= 638 or b[3] >= 478 for b in beside)
        table.append((len(overlapping), len(found), len(row["truth"]["WBC"]), beside, missed, overlapping, border))
    figures: dict[str, Any] = {}
    for name, keep in halves(rows).items():
        part = [table[i] for i in keep]
        good, called, truth = (np.array([entry[k] for entry in part]) for k in range(3))
        overlaps = [value for entry in part for value in entry[5]]
        figures[name] = {
            "fields": len(part),
            "white_cells": int(truth.sum()),
            "recall": ratio(good, truth),
            "precision": ratio(good, called),
            "median_overlap": round(float(np.median(overlaps)), 3),
            "extra": int((called - good).sum()),
            "extra_at_the_border": int(sum(entry[6] for entry in part)),
        }
    figures["missed"] = [{"field": r["name"], "box": list(b)} for r, e in zip(rows, table, strict=True) for b in e[4]]
    figures["beside"] = [{"field": r["name"], "box": list(b)} for r, e in zip(rows, table, strict=True) for b in e[3]]
    figures["seconds_a_field"] = round(float(np.median([row["s"] for row in rows])), 3)
    figures["without_white_cells"] = _empty(rows)
    return figures


def _empty(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Largest strip of each odd field beside its white cells: white cells found there are false."""
    strips = cells = 0
    for row in rows:
        finding: Finding = row["finding"]
        if row["number"] % 2 == 0:
            continue
        taken = [*row["truth"]["WBC"], *((x, y, x + w, y + h) for x, y, w, h in (cell.box for cell in finding.cells))]
        left, right = min(b[0] for b in taken), max(b[2] for b in taken)
        strip = row["rgb"][:, : left - 15] if left > 640 - right else row["rgb"][:, right + 15 :]
        if min(strip.shape[:2]) < 200:
            continue
        strips += 1
        cells += len(find_cells(np.ascontiguousarray(strip)).cells)
    return {"strips": strips, "white_cells_found": cells}


def kinds(data: Path) -> dict[str, Any]:
    """How often the kind of a picture is told right."""
    random = np.random.default_rng(SEED)
    figures = {}
    for name, pattern, want, most in (
        ("cnmc2019", "cnmc2019/**/*.webp", "framed", 500),
        ("pbc", "pbc/*/*.jpg", "crop", 1080),
        ("bccd", "bccd/JPEGImages/*.jpg", "field", 364),
    ):
        paths = sorted(data.glob(pattern))
        chosen = random.choice(len(paths), min(most, len(paths)), replace=False)
        told = [kind_of(read_picture(paths[i]).rgb) for i in sorted(chosen)]
        wrong = Counter(paths[i].parent.name for i, kind in zip(sorted(chosen), told, strict=True) if kind != want)
        right = sum(kind == want for kind in told) / len(told)
        figures[name] = {
            "kind": want,
            "pictures": len(told),
            "right": round(right, 4),
            "told": dict(Counter(told)),
            "wrong_by_folder": dict(wrong),
        }
    return figures


def masks(data: Path) -> dict[str, Any]:
    """Dice against the masks of wbc-seg, told and read as `predict` does: the cell nearest to the middle."""
    figures = {}
    for name in ("dataset1", "dataset2"):
        cells, nuclei, told, none = [], [], [], 0
        for path in sorted((data / "wbc-seg" / name).glob("*.mask.png")):
            if int(path.name[:3]) % 2 == 0:
                continue
            truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            rgb = read_picture(path.with_name(path.name.replace(".mask", ""))).rgb
            told.append(kind_of(rgb))
            try:
                found = (find_in_crop(rgb) if told[-1] == "crop" else find_cells(rgb, min_side=100)).cells
            except PictureError:
                found = ()
            middle = np.array(rgb.shape[1::-1]) / 2
            best = min(found, key=lambda cell: float(np.hypot(*(np.array(cell.centre) - middle))), default=None)
            whole, nucleus = (np.zeros(truth.shape, bool) for _ in (0, 1))
            if best is None:
                none += 1
            else:
                x, y, width, height = best.box
                part = np.s_[y : y + height, x : x + width]
                whole[part] = best.mask()[: truth.shape[0] - y, : truth.shape[1] - x]
                nucleus[part] = best.mask(part="nucleus")[: truth.shape[0] - y, : truth.shape[1] - x]
            cells.append(_dice(whole, truth > 60))
            nuclei.append(_dice(nucleus, truth > 200))
        figures[name] = {
            "pictures": len(cells),
            "told": dict(Counter(told)),
            "not_found": none,
            "cell": [round(float(np.mean(cells)), 3), round(float(np.median(cells)), 3)],
            "nucleus": [round(float(np.mean(nuclei)), 3), round(float(np.median(nuclei)), 3)],
        }
    return figures


def _dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    return 2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


def cost(data: Path) -> dict[str, Any]:
    """Time and memory of one field of 5 MP, 16 fields of bccd side by side, in a process of its own with one thread."""
    paths = sorted((data / "bccd" / "JPEGImages").glob("*.jpg"))[:16]
    tiles = [read_picture(path).rgb for path in paths]
    mosaic = np.vstack([np.hstack(tiles[i : i + 4]) for i in range(0, 16, 4)])
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Any] = {}
        for name, picture in (
            ("16 white cells", mosaic),
            ("4 white cells", np.vstack([np.hstack(tiles[i : i + 2]) for i in (0, 2)])),
        ):
            path = Path(folder) / f"{len(runs)}.jpg"
            large = cv2.resize(picture, (2560, 1920), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path), cv2.cvtColor(large, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(path)], check=True, capture_output=True, text=True
            )
            runs[name] = json.loads(done.stdout)
    return runs


def one(path: Path) -> None:
    """One field from file to report data, after one on which everything was loaded."""
    from leukoscope.inference.classifier import load  # noqa: PLC0415
    from leukoscope.inference.overlay import numbered, outlined  # noqa: PLC0415

    cv2.setNumThreads(1)
    classifier = load(threads=1)
    times, walls = [], []
    for _ in range(4):
        start, wall = time.process_time(), time.perf_counter()
        field = classifier.read_field(path)
        json.dumps(field.to_json())
        numbered(outlined(field), field)
        times.append(time.process_time() - start)
        walls.append(time.perf_counter() - wall)
    # Not ru_maxrss: a process inherits that of the one that started it, which holds all pictures of bccd.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(
        json.dumps(
            {
                "cells": len(field.cells),
                "cpu_s": round(float(np.median(times[1:])), 3),
                "wall_s": round(float(np.median(walls[1:])), 3),
                "peak_mib": round(peak),
            }
        )
    )


def main() -> None:
    """Measure and write the figures."""
    parser = command_line(__doc__, data=Path, out=Path, parts=("white", "ruler", "kind", "masks", "cost", "stains"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one)
        return
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"version": __version__, "seed": SEED, "machine": describe_machine()}
    if args.out and args.out.exists():
        figures = json.loads(args.out.read_text(encoding="utf-8")) | figures
    rows = bccd(args.data / "bccd") if {"white", "ruler"} & set(args.parts) else []
    steps = {
        "white": lambda: white_cells(rows),
        "ruler": lambda: ruler(rows),
        "kind": lambda: kinds(args.data),
        "masks": lambda: masks(args.data),
        "stains": lambda: stains(args.data),
        "cost": lambda: cost(args.data),
    }
    for part in args.parts:
        figures[part] = steps[part]()
        print(part, json.dumps(figures[part])[:1500], flush=True)
        if args.out:
            write_json(args.out, figures)


if __name__ == "__main__":
    main()
