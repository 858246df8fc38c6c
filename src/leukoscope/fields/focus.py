"""Whether a field is in focus: how wide the edges of its cells are, in diameters of a red cell.

A Gaussian blur of width s turns a step of height c into a slope of at most ``c / (s sqrt(2 pi))``. The steepest slopes
where the picture crosses the level between cells and ground therefore tell s. Stain and exposure scale step and slope
alike and fall out; resolution falls out because s is stated in red cells.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.stain import otsu_levels
from leukoscope.fields.density import density

#: Of a red cell's diameter: wider edges are out of focus. Chosen on fields of even number of `bccd` (docs/fields.md).
WIDEST_EDGE: Final = 0.046

_UNIT = 80.0  # pixels to a red cell: larger pictures are reduced to it
SMOOTHING: Final = 1 / 80  # of a red cell: Gaussian before slopes are taken, for noise
_MIDDLE = 800  # pixels of the reduced picture: the middle that is judged
_BAND = 0.15  # of the step: how near to the level an edge's pixels lie
_STEEP = 0.97  # quantile of slopes there: what is sharpest in the field; the edges of pale middles are not
_LEAST = 50  # pixels of edges: fewer tell nothing
_LEAST_STEP = 0.02  # in density: less is noise


def edge_width(rgb: NDArray[np.uint8], red_cell: float) -> float | None:
    """Width of the field's sharpest edges as that of a Gaussian blur, in diameters of a red cell.

    Args:
        rgb: uint8 [H, W, 3].
        red_cell: diameter of a red cell in pixels, or what stands for it.

    Returns:
        None where there are no edges to judge by.
    """
    scale = min(1.0, _UNIT / red_cell)
    unit = red_cell * scale
    part = _middle(rgb, _MIDDLE / scale)
    small = part if scale == 1 else cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    value = density(np.ascontiguousarray(small, np.uint8), sigma=SMOOTHING * unit).red
    (level,) = otsu_levels(value.ravel())
    above = value > level
    if not above.any() or above.all():
        return None
    step = float(np.median(value[above]) - np.median(value[~above]))
    at_edge = np.asarray(np.abs(value - level) < _BAND * step)
    if step < _LEAST_STEP or np.count_nonzero(at_edge) < _LEAST:
        return None
    across, down = (cv2.Sobel(value, cv2.CV_32F, *order)[at_edge] / 8 for order in ((1, 0), (0, 1)))
    steepest = float(np.quantile(np.hypot(across, down), _STEEP))
    return step / (math.sqrt(2 * math.pi) * max(steepest, 1e-6) * unit)


def focus_warning(rgb: NDArray[np.uint8], red_cell: float, *, known: bool) -> tuple[str, ...]:
    """The warning of a field out of focus; nothing where it is in focus or cannot be judged.

    Args:
        rgb: uint8 [H, W, 3].
        red_cell: diameter of a red cell in pixels.
        known: whether that was measured or given, not guessed by the nuclei: a guess is not stated.
    """
    width = edge_width(rgb, red_cell)
    if width is None or width <= WIDEST_EDGE:
        return ()
    if not known:
        return ("out of focus: even its sharpest edges are wide",)
    return (f"out of focus: its sharpest edges are {width:.1%} of a red cell wide, more than {WIDEST_EDGE:.1%}",)


def _middle(rgb: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    top, left = (max(0, (length - round(side)) // 2) for length in rgb.shape[:2])
    return rgb[top : rgb.shape[0] - top, left : rgb.shape[1] - left]
