"""White cells found by the app in the browser beside those that the command line finds, on fields with boxes.

    python benchmarks/app_fields.py --data BCCD --out docs/figures/app_fields.json

BCCD is the folder with JPEGImages and Annotations. The app's finder runs in Node, on the pixels that Python decoded.
Constants were chosen on files of even number; odd ones are reported apart. Every fourth field is also put behind an
eyepiece's circle: what lies outside of it must give no cell. Intervals: bootstrap over fields.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import Needed, command_line, report
from fields_truth import Box, boxes_of, match, ratio
from leukoscope.app.site import PAGES
from leukoscope.cells.read import read_picture
from leukoscope.smears import find_cells

RUNNER = Path(__file__).with_name("app_fields.mjs")


def found_by_app(pictures: list[NDArray[np.uint8]], place: Path) -> list[dict[str, Any]]:
    """What find.mjs finds in pictures, uint8 [H, W, 3]."""
    listed = []
    for number, rgb in enumerate(pictures):
        file = place / f"{number}.rgb"
        file.write_bytes(np.ascontiguousarray(rgb).tobytes())
        listed.append({"file": str(file), "width": rgb.shape[1], "height": rgb.shape[0]})
    (place / "fields.json").write_text(json.dumps(listed), encoding="utf-8")
    command = ["node", str(RUNNER), str(PAGES), str(place / "fields.json"), str(place / "found.json")]
    subprocess.run(command, check=True)
    found: list[dict[str, Any]] = json.loads((place / "found.json").read_text(encoding="utf-8"))
    return found


def behind_eyepiece(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The field in the circle of an eyepiece, black outside it."""
    height, width = rgb.shape[:2]
    y, x = np.ogrid[:height, :width]
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 <= (0.48 * height) ** 2
    return np.ascontiguousarray(rgb * inside[..., None], np.uint8)


def corners(box: tuple[int, int, int, int]) -> Box:
    """A box by its corners."""
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def scored(found: list[list[Box]], truth: list[list[Box]]) -> dict[str, Any]:
    """Recall and precision at an overlap of 0.5."""
    table = [match(one, other) for one, other in zip(found, truth, strict=True)]
    good, all_found, all_true = (
        np.array(column) for column in ([len(g) for g, _, _ in table], [len(f) for f in found], [len(t) for t in truth])
    )
    overlaps = [value for g, _, _ in table for value in g]
    return {
        "white_cells": int(all_true.sum()),
        "recall": ratio(good, all_true),
        "precision": ratio(good, all_found),
        "median_overlap": round(float(np.median(overlaps)), 3),
    }


def main() -> None:
    """Print and write the figures."""
    given = command_line(__doc__, data=Needed(), out=Path, fields=0).parse_args()
    paths = sorted((given.data / "JPEGImages").glob("*.jpg"))[: given.fields or None]
    pictures = [read_picture(path).rgb for path in paths]
    truth = [boxes_of(given.data / "Annotations" / f"{path.stem}.xml")["WBC"] for path in paths]
    odd = np.array([int(path.stem[-5:]) % 2 == 1 for path in paths])
    own = [find_cells(rgb) for rgb in pictures]
    with tempfile.TemporaryDirectory() as place:
        app = found_by_app(pictures, Path(place))
        eyepiece = found_by_app([behind_eyepiece(rgb) for rgb in pictures[::4]], Path(place))
    boxes = {
        "app": [[corners(cell["box"]) for cell in each["cells"]] for each in app],
        "command_line": [[corners(cell.box) for cell in each.cells] for each in own],
    }
    figures: dict[str, Any] = {
        half: {
            name: scored([b for b, k in zip(found, keep, strict=True) if k],
                         [t for t, k in zip(truth, keep, strict=True) if k])
            for name, found in boxes.items()
        }
        for half, keep in (("odd", odd), ("even", ~odd))
    }  # fmt: skip
    both = [
        (each["redCell"], field.ruler.red_cell_px)
        for each, field in zip(app, own, strict=True)
        if each["redCell"] and field.ruler.red_cell_px
    ]
    apart = np.abs(np.log([one / other for one, other in both]))
    height, width = pictures[0].shape[:2]
    alike = sum(
        len(each["cells"]) == len(field.cells)
        and len(match([corners(cell["box"]) for cell in each["cells"]], [corners(cell.box) for cell in field.cells])[0])
        == len(field.cells)
        for each, field in zip(app, own, strict=True)
    )
    outside = sum(
        (x + w / 2 - width / 2) ** 2 + (y + h / 2 - height / 2) ** 2 > (0.48 * height) ** 2
        for each in eyepiece
        for x, y, w, h in (cell["box"] for cell in each["cells"])
    )
    figures["ruler"] = {
        "fields": len(paths),
        "red_cell_seen": sum(each["redCell"] is not None for each in app),
        "red_cell_seen_by_command_line": sum(field.ruler.red_cell_px is not None for field in own),
        "median_difference": round(float(np.expm1(np.median(apart))), 4),
        "nine_tenths_within": round(float(np.expm1(np.quantile(apart, 0.9))), 4),
        "largest_difference": round(float(np.expm1(apart.max())), 4),
    }
    figures["fields_with_the_same_cells_as_the_command_line"] = alike
    figures["eyepiece"] = {
        "fields": len(eyepiece),
        "fields_in_which_it_was_seen": sum(each["hidden"] > 0.2 for each in eyepiece),
        "cells": sum(len(each["cells"]) for each in eyepiece),
        "cells_outside_the_circle": int(outside),
    }
    figures["processor_ms_a_field_median"] = round(float(np.median([each["ms"] for each in app])), 1)
    report(figures, given.out)


if __name__ == "__main__":
    main()
