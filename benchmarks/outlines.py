"""Outlines of cells in crops: the polar curve of `cells.outline` beside GrabCut, which it replaced, in one run.

Run: python benchmarks/outlines.py --data DIR [--out docs/figures/outlines.json]
DIR holds wbc-seg. Each picture is outlined by both, in turns of random order, in one thread; then all of them by
`find_in_crop` with one thread and with all. Constants of both were chosen on pictures of even number; odd ones are
the report. Intervals are from a bootstrap over pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope._version import __version__
from leukoscope.cells import crop, outline
from leukoscope.cells.crop import segment_crop
from leukoscope.cells.masks import Mask, components, filled, opened
from leukoscope.errors import PictureError
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.smears.find import find_in_crop
from segmentation import dice, read

SEED, DRAWS = 0, 2000
_ROUNDS = 4


def grabcut(rgb: NDArray[np.uint8], nucleus: Mask, red: Mask, barred: Mask | None = None) -> Mask:
    """The same cell by GrabCut (Rother, Kolmogorov & Blake 2004, ACM TOG 23), as up to version 0.4."""
    side = min(rgb.shape[:2])
    known = outline._around(rgb, nucleus, barred)
    belief = np.where(known.away < outline._NEAR * known.radius, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    belief[known.outside], belief[nucleus] = cv2.GC_BGD, cv2.GC_FGD
    first = _grabbed(known.lab, belief, nucleus, side)
    if outline.solidity(first) >= outline._SOLID:
        return first
    touching = outline._red_cells(known, red, side) & (belief == cv2.GC_PR_FGD) & ~known.hull
    if not touching.any():
        return first
    second = _grabbed(known.lab, np.where(touching, np.uint8(cv2.GC_PR_BGD), belief), nucleus, side)
    return max(first, second, key=outline.solidity)


def _grabbed(lab: NDArray[np.uint8], belief: NDArray[np.uint8], nucleus: Mask, side: int) -> Mask:
    belief = belief.copy()
    cv2.setRNGSeed(0)
    cv2.grabCut(lab, belief, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cell = filled(np.isin(belief, (cv2.GC_FGD, cv2.GC_PR_FGD)) | nucleus)
    smooth = opened(cell, outline._NECK * side) | nucleus
    parts, _ = components(smooth)
    counts = np.bincount(parts[nucleus])
    return filled(np.asarray(parts == int(np.argmax(counts))))


WAYS: dict[str, Callable[..., Mask]] = {"polar curve": outline.outline_around, "grabcut": grabcut}


def measured(paths: list[Path]) -> dict[str, NDArray[np.float64]]:
    """Dice of cell and nucleus and seconds of processor time, float64 [pictures, 3] for each way."""
    random = np.random.default_rng(SEED)
    found = {name: np.zeros((len(paths), 3)) for name in WAYS}
    for row, path in enumerate(paths):
        rgb, nucleus, cell = read(path)
        for name in random.permutation(list(WAYS)):
            vars(crop)["outline_around"] = WAYS[name]
            start = time.process_time()
            try:
                parts = segment_crop(rgb)
                found[name][row, :2] = dice(parts.outline, cell), dice(parts.nucleus, nucleus)
            except PictureError:
                pass
            found[name][row, 2] = time.process_time() - start
    vars(crop)["outline_around"] = outline.outline_around
    return found


def interval(values: Callable[[NDArray[np.int64]], float], count: int) -> dict[str, float]:
    """A figure of all pictures, with its 95 % interval from draws of them."""
    random = np.random.default_rng(SEED)
    draws = [values(random.integers(count, size=count)) for _ in range(DRAWS)]
    low, high = np.quantile(draws, (0.025, 0.975))
    names = ("value", "low", "high")
    return {k: round(float(v), 4) for k, v in zip(names, (values(np.arange(count)), low, high), strict=True)}


def compared(paths: list[Path]) -> dict[str, Any]:
    """Both ways on the same pictures, and what one has before the other."""
    found = measured(paths)
    new, old = found["polar curve"], found["grabcut"]
    figures: dict[str, Any] = {"pictures": len(paths)}
    for name, table in found.items():
        figures[name] = {
            "cell": [round(float(f(table[:, 0])), 4) for f in (np.mean, np.median)],
            "nucleus": [round(float(f(table[:, 1])), 4) for f in (np.mean, np.median)],
            "seconds": round(float(table[:, 2].mean()), 4),
        }
    figures["cell_difference"] = interval(lambda i: float((new[i, 0] - old[i, 0]).mean()), len(paths))
    figures["nucleus_difference"] = interval(lambda i: float((new[i, 1] - old[i, 1]).mean()), len(paths))
    figures["times_as_fast"] = interval(lambda i: float(old[i, 2].sum() / new[i, 2].sum()), len(paths))
    return figures


def whole_way(paths: list[Path]) -> dict[str, Any]:
    """Seconds a crop of `find_in_crop`, by processor and by the clock, with one thread and with all; medians of three.

    The clock says something only on an idle machine: the load is written beside it.
    """
    pictures = [read(path)[0] for path in paths]
    cores = len(os.sched_getaffinity(0))
    spent: dict[str, list[tuple[float, float]]] = {}
    for _ in range(3):
        for (name, way), threads in product(WAYS.items(), sorted({1, cores})):
            vars(crop)["outline_around"] = way
            start, wall = time.process_time(), time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(find_in_crop, pictures))
            took = (time.process_time() - start, time.perf_counter() - wall)
            spent.setdefault(f"{name}, {threads} threads", []).append(took)
    vars(crop)["outline_around"] = outline.outline_around
    middle = {name: np.median(values, axis=0) / len(pictures) for name, values in spent.items()}
    return {
        "crops": len(pictures),
        "processor_and_wall_seconds": {name: [round(float(v), 4) for v in pair] for name, pair in middle.items()},
        "times_as_fast_by_processor": round(
            float(middle["grabcut, 1 threads"][0] / middle["polar curve, 1 threads"][0]), 2
        ),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"version": __version__, "seed": SEED, "machine": describe_machine(), "sets": {}}
    for name in ("dataset1", "dataset2"):
        folder = args.data / "wbc-seg" / name
        paths = sorted(p for p in folder.glob("*.png") if not p.name.endswith(".mask.png"))
        for half, odd in (("odd (reported)", 1), ("even (tuned on)", 0)):
            figures["sets"][f"{name}, {half}"] = compared([p for p in paths if int(p.stem) % 2 == odd])
            print(name, half, json.dumps(figures["sets"][f"{name}, {half}"]), flush=True)
    figures["find_in_crop"] = whole_way(sorted((args.data / "wbc-seg" / "dataset2").glob("0?[13].png")))
    print("find_in_crop", json.dumps(figures["find_in_crop"]), flush=True)
    if args.out:
        write_json(args.out, figures)


if __name__ == "__main__":
    main()
