"""Drawings over pictures: the signed heat map (orange for blast, blue for normal); the contours of a field's cells."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import LeukoscopeError
from leukoscope.inference.answer import Answers
from leukoscope.inference.cells import Cell, Reading
from leukoscope.inference.labels import label_boxes

# Okabe & Ito (2008): distinguishable with every common colour-vision deficiency, and from a purple nucleus.
BLAST_RGB = (255, 159, 0)
NORMAL_RGB = (46, 150, 255)
REFER_RGB = (0, 158, 115)
STRONGEST = 0.65  # opacity at the end of the scale: the cell stays visible


def map_scale(heatmap: NDArray[np.float32]) -> float:
    """Largest magnitude of the map in logit units: where the colours of `overlay` end by default.

    >>> map_scale(np.array([[0.5, -2.0]], dtype=np.float32))
    2.0
    """
    finite = np.abs(heatmap[np.isfinite(heatmap)])
    return float(finite.max()) if finite.size else 0.0


def overlay(
    frame: NDArray[np.uint8], heatmap: NDArray[np.float32], *, scale: float | None = None, legend: bool = False
) -> NDArray[np.uint8]:
    """Lay the heat map over the frame. Row 0, column 0 of the map lies over the frame's top left corner.

    Args:
        frame: uint8 RGB [H, W, 3].
        heatmap: float32 [h, w], signed Grad-CAM in logit units, over the whole frame.
        scale: magnitude at which the colour is strongest, in logit units; by default the map's largest.
        legend: append a strip with the colour scale below the picture.

    Returns:
        uint8 RGB [H, W, 3], with the legend [H + H // 8, W, 3]. Opacity grows linearly with magnitude, so that a map
        of zeros leaves the frame as it is.
    """
    top = map_scale(heatmap) if scale is None else float(scale)
    height, width = frame.shape[:2]
    finite = np.where(np.isfinite(heatmap), heatmap, 0).astype(np.float32)
    signed = np.clip(finite / (top if top > 0 else np.inf), -1, 1)
    # Linear interpolation: cubic would overshoot and show the other colour beside a strong spot.
    large: NDArray[np.float32] = cv2.resize(signed, (width, height), interpolation=cv2.INTER_LINEAR)
    picture = _blend(frame, large)
    return np.concatenate([picture, _legend(width, height // 8, top)]) if legend else picture


TINT = 48  # pixels: three times the side of the finest map, as it is drawn smoothly over the frame


def tint(heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The heat map alone, to be laid over the frame: the colour is its sign, the opacity its magnitude.

    Args:
        heatmap: float32 [h, w], signed, in logit units, over the whole frame.

    Returns:
        uint8 RGBA [TINT, TINT, 4]; over the frame it gives what `overlay` does, but for the coarser grid.
    """
    top = map_scale(heatmap)
    finite = np.where(np.isfinite(heatmap), heatmap, 0).astype(np.float32)
    signed = cv2.resize(finite / (top or 1.0), (TINT, TINT), interpolation=cv2.INTER_LINEAR)
    colour = np.where(signed[..., None] > 0, np.array(BLAST_RGB, np.uint8), np.array(NORMAL_RGB, np.uint8))
    return np.dstack([colour, np.rint(255 * STRONGEST * np.abs(signed)).astype(np.uint8)])


def _blend(frame: NDArray[np.uint8], signed: NDArray[np.float32]) -> NDArray[np.uint8]:
    alpha = STRONGEST * np.abs(signed)[..., None]
    colour = np.where(signed[..., None] > 0, np.array(BLAST_RGB, np.float32), np.array(NORMAL_RGB, np.float32))
    mixed: NDArray[np.uint8] = np.rint(frame + alpha * (colour - frame)).clip(0, 255).astype(np.uint8)
    return mixed


def _legend(width: int, height: int, top: float) -> NDArray[np.uint8]:
    """A strip uint8 [height, width, 3]: the scale from normal to blast, its ends in logit units."""
    strip = np.zeros((height, width, 3), np.uint8)
    bar = slice(max(height // 8, 1), max(height * 3 // 8, 2))
    ramp = np.linspace(-1, 1, width, dtype=np.float32)[None].repeat(bar.stop - bar.start, 0)
    strip[bar] = _blend(strip[bar], ramp / STRONGEST)
    size = height / 70
    left, right = f"normal {-top:+.2f}", f"blast {top:+.2f}"
    for text, place in ((left, 0.0), ("0  logit", 0.5), (right, 1.0)):
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        at = (int(np.clip(place * width - wide / 2, 2, max(width - wide - 2, 2))), height * 4 // 5)
        cv2.putText(strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (225, 225, 225), 1, cv2.LINE_AA)
    return strip


COLOURS = {"blast": BLAST_RGB, "normal": NORMAL_RGB, "refer": REFER_RGB}
LARGEST_SIDE = 1600  # pixels of the annotated picture
THUMB = 160  # pixels


def outlined(answers: Answers) -> NDArray[np.uint8]:
    """The picture with the contours of its cells, coloured by decision; nuclei thin.

    Returns:
        uint8 RGB, reduced to `LARGEST_SIDE`.
    """
    rgb = _picture(answers.reading)
    height, width = rgb.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    canvas = np.array(small, np.uint8)
    line = max(1, round(max(canvas.shape) / 500))
    for answer in answers.cells:
        colour, found = COLOURS[answer.decision], answer.cell.found
        assert found is not None
        cv2.polylines(canvas, [_points(found.outline, scale)], True, colour, line + 1, cv2.LINE_AA)
        for ring in found.nucleus:
            cv2.polylines(canvas, [_points(ring, scale)], True, colour, 1, cv2.LINE_AA)
    return canvas


def numbered(picture: NDArray[np.uint8], answers: Answers) -> NDArray[np.uint8]:
    """What `outlined` gave, with the number of each cell beside it; uint8 RGB [H, W, 3]."""
    canvas = picture.copy()
    height, width = canvas.shape[:2]
    scale = width / _picture(answers.reading).shape[1]
    line = max(1, round(max(canvas.shape) / 500))
    size = 0.35 * line + 0.3
    (_, digit), base = cv2.getTextSize("0", cv2.FONT_HERSHEY_SIMPLEX, size, line + 3)
    cells = []
    for number, answer in enumerate(answers.cells, 1):
        assert answer.cell.found is not None
        cells.append((str(number), [part * scale for part in answer.cell.found.box]))
    for (told, _), (x, y, _, high) in zip(cells, label_boxes(cells, (width, height), digit + base + 6), strict=True):
        place = (round(x) + base, round(y + high) - base)
        cv2.putText(canvas, told, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), line + 3)
        cv2.putText(canvas, told, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), line, cv2.LINE_AA)
    return canvas


def thumbnail(reading: Reading, cell: Cell) -> NDArray[np.uint8]:
    """The cell with a third of its size around it, uint8 RGB [THUMB, THUMB, 3]; grey beyond the picture's edge."""
    rgb = _picture(reading)
    assert cell.found is not None
    x, y, width, height = cell.found.box
    side = max(8, round(1.35 * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    canvas = np.full((side, side, 3), 128, np.uint8)
    rows = slice(max(0, top), min(rgb.shape[0], top + side))
    columns = slice(max(0, left), min(rgb.shape[1], left + side))
    canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = rgb[rows, columns]
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


def _picture(reading: Reading) -> NDArray[np.uint8]:
    if reading.rgb is None:
        raise ValueError("the picture was not kept: read with ReadOptions(keep=True)")
    return reading.rgb


def _points(ring: NDArray[np.float64], scale: float) -> NDArray[np.int32]:
    return np.rint(ring * scale).astype(np.int32)
