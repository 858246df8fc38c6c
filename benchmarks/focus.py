"""How blurred a field must be before it is called out of focus: fields of bccd, sharp and blurred by known amounts.

Run: python benchmarks/focus.py --data DIR [--out docs/figures/focus.json]
DIR holds bccd and pbc. A Gaussian blur is stated in diameters of the field's red cells, as measured before it. The
limit was chosen on fields of even number, those of odd number are the report. Sharp crops of pbc: another camera.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from _common import Needed, command_line, report
from fields_truth import ratio
from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError
from leukoscope.machine import describe_machine
from leukoscope.smears import RED_CELL_UM, find_cells
from leukoscope.smears.faults import WIDEST_EDGE, edge_width
from leukoscope.smears.ruler import read_ruler

BLURS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.12)


def told(rgb: NDArray[np.uint8]) -> tuple[bool, bool]:
    """Whether the field is called out of focus, and whether it has a scale."""
    try:
        finding = find_cells(rgb)
    except PictureError:
        return False, False
    return any(text.startswith("out of focus") for text in finding.warnings), finding.ruler.um_per_px is not None


def shares(flags: list[bool]) -> dict[str, Any]:
    """Share of fields, with its interval from a bootstrap over them."""
    return {"fields": len(flags)} | ratio(np.array(flags, float), np.ones(len(flags)))


def main() -> None:
    """Blur, ask, print, write."""
    parser = command_line(__doc__, data=Needed(), out=Path)
    parser.add_argument("--every", type=int, default=3, help="of the odd fields, how many to one that is blurred too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {
        "machine": describe_machine(), "limit": WIDEST_EDGE, "red_cell_um": RED_CELL_UM, "bccd, odd": {},
    }  # fmt: skip
    odd = [p for p in sorted((options.data / "bccd" / "JPEGImages").glob("*.jpg")) if int(p.stem[-5:]) % 2]
    answers: dict[float, list[tuple[bool, bool, float]]] = {blur: [] for blur in BLURS}
    for number, path in enumerate(odd):
        rgb = read_picture(path).rgb
        red_cell = read_ruler(rgb)[0].red_cell_px
        if red_cell is None:
            continue
        for blur in BLURS if number % options.every == 0 else BLURS[:1]:
            seen = np.asarray(cv2.GaussianBlur(rgb, (0, 0), blur * red_cell), np.uint8) if blur else rgb
            answers[blur].append((*told(seen), edge_width(seen, red_cell) or np.nan))
    for blur, rows in answers.items():
        widths = np.nanquantile([width for *_, width in rows], (0.05, 0.5, 0.95))
        figures["bccd, odd"][f"{blur:g}"] = {
            "um": round(blur * RED_CELL_UM, 2),
            "out_of_focus": shares([row[0] for row in rows]),
            "with_scale": shares([row[1] for row in rows]),
            "edge_width_5_50_95": [round(float(width), 4) for width in widths],
        }
    crops = sorted((options.data / "pbc").glob("*/*.jpg"))[::10]
    sharp = []
    for path in crops:
        rgb = read_picture(path).rgb
        red_cell = read_ruler(rgb)[0].red_cell_px
        if red_cell is not None:
            width = edge_width(rgb, red_cell)
            sharp.append(width is not None and width > WIDEST_EDGE)
    figures["pbc, sharp, with scale"] = shares(sharp)
    report(figures, options.out)


if __name__ == "__main__":
    main()
