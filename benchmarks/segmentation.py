"""Dice of nucleus and whole cell against hand-drawn masks, with every failure listed.

Run: python benchmarks/segmentation.py --data DIR [--out docs/figures/segmentation.json]
DIR holds dataset1/ and dataset2/ with NNN.png and NNN.mask.png (0 background, grey cytoplasm, white nucleus). The
method was tuned on pictures of even number; those of odd number are the report. The true outline is divided at full
resolution and, as for measurements, reduced.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from _common import Needed, command_line, report
from leukoscope.cells.crop import segment_crop
from leukoscope.cells.cutout import cutout, view
from leukoscope.cells.segment import divide, segment
from leukoscope.machine import describe_machine

GREY, WHITE = 100, 200  # the masks of a few pictures have levels between the three named
FAILURE = 0.8


def dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Twice the common area over the sum of both."""
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def read(picture: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Picture uint8 [H, W, 3], nucleus and cell bool [H, W]."""
    rgb = np.array(Image.open(picture).convert("RGB"))
    mask = np.array(Image.open(picture.with_suffix(".mask.png")).convert("L"))
    return rgb, mask >= WHITE, mask >= GREY


def measure(pictures: list[Path]) -> dict[str, dict[str, list[float]]]:
    """Dice and milliseconds of processor time for each picture, by situation."""
    crop: dict[str, list[float]] = {"cell": [], "nucleus": [], "ms": []}
    black: dict[str, list[float]] = {"nucleus": [], "told_apart": [], "ms": [], "reduced": [], "reduced_ms": []}
    for picture in pictures:
        rgb, nucleus, cell = read(picture)
        start = time.process_time()
        found = segment_crop(rgb)
        crop["ms"].append(1e3 * (time.process_time() - start))
        crop["cell"].append(dice(found.outline, cell))
        crop["nucleus"].append(dice(found.nucleus, nucleus))
        framed = rgb * cell[..., None].astype(np.uint8)
        start = time.process_time()
        found = segment(framed, cell)
        black["ms"].append(1e3 * (time.process_time() - start))
        black["nucleus"].append(dice(found.nucleus, nucleus))
        black["told_apart"].append(float(found.cytoplasm_visible))
        start = time.process_time()
        found = divide(view(cutout(framed, cell)))
        black["reduced_ms"].append(1e3 * (time.process_time() - start))
        black["reduced"].append(dice(found.nucleus, nucleus))
    return {"crop": crop, "true outline": black}


def spread(values: list[float]) -> dict[str, float]:
    """Mean, median, tenth percentile and worst."""
    return {
        "mean": round(statistics.fmean(values), 4),
        "median": round(statistics.median(values), 4),
        "p10": round(float(np.quantile(values, 0.1)), 4),
        "worst": round(min(values), 4),
    }


def summary(pictures: list[Path], found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """What is reported of one half of one set."""
    crop, black = found["crop"], found["true outline"]
    told = [value for value, flag in zip(black["nucleus"], black["told_apart"], strict=True) if flag]

    def failures(values: list[float]) -> dict[str, float]:
        return {p.stem: round(v, 3) for p, v in zip(pictures, values, strict=True) if v < FAILURE}

    return {
        "pictures": len(pictures),
        "crop": {
            "cell": spread(crop["cell"]),
            "nucleus": spread(crop["nucleus"]),
            "ms_median": round(statistics.median(crop["ms"]), 1),
            "failures_cell": failures(crop["cell"]),
            "failures_nucleus": failures(crop["nucleus"]),
        },
        "true_outline": {
            "nucleus": spread(black["nucleus"]),
            "share_told_apart": round(statistics.fmean(black["told_apart"]), 4),
            "nucleus_where_told_apart": spread(told),
            "ms_median": round(statistics.median(black["ms"]), 1),
            "nucleus_reduced": spread(black["reduced"]),
            "reduced_ms_median": round(statistics.median(black["reduced_ms"]), 1),
            "failures_nucleus": failures(black["nucleus"]),
        },
    }


def main() -> None:
    """Measure and write JSON."""
    args = command_line(__doc__, data=Needed(), out=Path).parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"machine": describe_machine(), "failure_below": FAILURE, "sets": {}}
    for name in ("dataset1", "dataset2"):
        pictures = sorted(p for p in (args.data / name).glob("*.png") if not p.name.endswith(".mask.png"))
        halves = {"tuned_on": 0, "held_out": 1}
        figures["sets"][name] = {}
        for half, parity in halves.items():
            chosen = [p for p in pictures if int(p.stem) % 2 == parity]
            figures["sets"][name][half] = summary(chosen, measure(chosen))
    report(figures, args.out)


if __name__ == "__main__":
    main()
