"""Fields of bccd with their boxes, matching of boxes, and shares with intervals: what measures of fields rest on."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import read_picture
from leukoscope.smears import find_cells

Box = tuple[int, int, int, int]
SEED, DRAWS = 0, 2000


def boxes_of(annotation: Path) -> dict[str, list[Box]]:
    """Boxes (left, top, right, bottom) of a VOC file by class."""
    found: dict[str, list[Box]] = {"WBC": [], "RBC": [], "Platelets": []}
    for item in ET.parse(annotation).getroot().findall("object"):
        left, top, right, bottom = (int(item.findtext(f"bndbox/{k}", "0")) for k in ("xmin", "ymin", "xmax", "ymax"))
        found[item.findtext("name", "")].append((left, top, right, bottom))
    return found


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def match(found: list[Box], truth: list[Box]) -> tuple[list[float], list[Box], list[Box]]:
    """Overlaps of pairs of 0.5 and more, best first and each once; what was found beside; what was missed."""
    pairs = sorted(((overlap(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(truth)), reverse=True)
    used_found, used_truth, good = set(), set(), []
    for value, i, j in pairs:
        if value >= 0.5 and i not in used_found and j not in used_truth:
            used_found.add(i)
            used_truth.add(j)
            good.append(value)
    beside = [box for i, box in enumerate(found) if i not in used_found]
    return good, beside, [box for j, box in enumerate(truth) if j not in used_truth]


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> dict[str, float]:
    """Sum over sum, with its 95 % interval from a bootstrap over fields."""
    random = np.random.default_rng(SEED)
    draws = random.integers(len(top), size=(DRAWS, len(top)))
    values = top[draws].sum(axis=1) / np.maximum(bottom[draws].sum(axis=1), 1)
    low, high = np.quantile(values, (0.025, 0.975))
    return {
        "value": round(float(top.sum() / bottom.sum()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def bccd(folder: Path) -> list[dict[str, Any]]:
    """What is found in each field, with its truth."""
    rows = []
    for path in sorted((folder / "JPEGImages").glob("*.jpg")):
        rgb = read_picture(path).rgb
        start = time.process_time()
        finding = find_cells(rgb)
        spent = time.process_time() - start
        truth = boxes_of(folder / "Annotations" / f"{path.stem}.xml")
        rows.append(
            {
                "name": path.stem,
                "number": int(path.stem[-5:]),
                "finding": finding,
                "truth": truth,
                "rgb": rgb,
                "s": spent,
            }
        )
    return rows


def halves(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Rows of odd fields, of even ones, of all."""
    numbers = [row["number"] for row in rows]
    return {
        "odd (reported)": [i for i, n in enumerate(numbers) if n % 2],
        "even (tuned on)": [i for i, n in enumerate(numbers) if n % 2 == 0],
        "all": list(range(len(rows))),
    }
