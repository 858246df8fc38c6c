"""A field drawn: contours coloured by decision and numbered; each cell with its surroundings as a small picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import LeukoscopeError
from leukoscope.inference.field import Field, FieldCell
from leukoscope.inference.overlay import BLAST_RGB, NORMAL_RGB, REFER_RGB

COLOURS = {"blast": BLAST_RGB, "normal": NORMAL_RGB, "refer": REFER_RGB}
LARGEST_SIDE = 1600  # pixels of the annotated picture
THUMB = 160  # pixels


def annotated(field: Field) -> NDArray[np.uint8]:
    """The picture with the contours of its cells, coloured by decision and numbered; nuclei thin.

    Returns:
        uint8 RGB, reduced to `LARGEST_SIDE`.
    """
    height, width = field.rgb.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    small = cv2.resize(field.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else field.rgb
    canvas = np.array(small, np.uint8)
    line = max(1, round(max(canvas.shape) / 500))
    for cell in field.cells:
        colour = COLOURS[cell.decision]
        cv2.polylines(canvas, [_points(cell.found.outline, scale)], True, colour, line + 1, cv2.LINE_AA)
        for ring in cell.found.nucleus:
            cv2.polylines(canvas, [_points(ring, scale)], True, colour, 1, cv2.LINE_AA)
        x, y = (int(part) for part in cell.found.outline.min(axis=0) * scale)
        place = (min(max(2, x), canvas.shape[1] - 30), max(16, y - 4))
        size = 0.35 * line + 0.3
        cv2.putText(canvas, str(cell.number), place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), line + 3)
        cv2.putText(canvas, str(cell.number), place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), line, cv2.LINE_AA)
    return canvas


def thumbnail(field: Field, cell: FieldCell) -> NDArray[np.uint8]:
    """The cell with a third of its size around it, uint8 RGB [THUMB, THUMB, 3]; grey beyond the picture's edge."""
    x, y, width, height = cell.found.box
    side = max(8, round(1.35 * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    canvas = np.full((side, side, 3), 128, np.uint8)
    rows = slice(max(0, top), min(field.rgb.shape[0], top + side))
    columns = slice(max(0, left), min(field.rgb.shape[1], left + side))
    canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = field.rgb[rows, columns]
    how = cv2.INTER_AREA if side > THUMB else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(canvas, (THUMB, THUMB), interpolation=how), np.uint8)


def reduced(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the model was shown, uint8 RGB [F, F, 3], as [THUMB, THUMB, 3]."""
    return np.asarray(cv2.resize(frame, (THUMB, THUMB), interpolation=cv2.INTER_AREA), np.uint8)


def encode(rgb: NDArray[np.uint8], path: Path) -> bytes:
    """The picture as the bytes of a file of this suffix."""
    options = [cv2.IMWRITE_WEBP_QUALITY, 90] if path.suffix == ".webp" else []
    done, content = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise LeukoscopeError("the picture cannot be encoded", path=path)
    return content.tobytes()


def _points(ring: NDArray[np.float64], scale: float) -> NDArray[np.int32]:
    return np.rint(ring * scale).astype(np.int32)
