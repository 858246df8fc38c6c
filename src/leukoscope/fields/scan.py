"""A picture too large for one field, a scan of a slide, read in overlapping windows as if each were a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import PictureError
from leukoscope.fields.faults import cell_warnings
from leukoscope.fields.find import Finding, find_cells
from leukoscope.fields.redcells import RedCell
from leukoscope.fields.ruler import RED_CELL_UM, find_red_cells, ruler_of
from leukoscope.fields.whitecells import WhiteCell

WINDOW = 2048  # pixels: side of the part of a window that is its own
_LAP = 3.5  # of a red cell's diameter, 26 um: windows overlap by it, so that half of it holds half of any white cell
_LAP_UNKNOWN = 600  # pixels, where the middle of the scan shows no red cell
_SLACK = 8  # pixels: the middle of one cell may differ by it between two windows
_OF_WINDOWS = ("out of focus", "underexposed", "overexposed", "it may be a photograph of a screen")
_SAME = 0.3  # overlap of boxes from which two cells of two windows are one


def find_in_windows(
    rgb: NDArray[np.uint8], *, um_per_px: float | None = None, red_cell_um: float = RED_CELL_UM, window: int = WINDOW
) -> Finding:
    """Find the white cells of a scan: as `find_cells` in each window; a cell belongs to the window with its middle.

    The scale is that of the red cells of all windows. Blank windows are left out.

    Args:
        rgb: uint8 [H, W, 3]; the memory needed beside it does not grow with it.
        um_per_px: the scale where it is known; None: the red cells give it.
        red_cell_um: mean diameter of a red cell, micrometres.
        window: side of a window without its overlap, pixels.

    Raises:
        PictureError: no window shows anything.
        ValueError: a length is not positive.
    """
    height, width = rgb.shape[:2]
    lap = _lap(rgb, window)
    cells: list[WhiteCell] = []
    red_cells: list[RedCell] = []
    warnings: Counter[str] = Counter()
    platelets, count = 0.0, 0
    refused: PictureError | None = None
    for (top, bottom), (left, right) in product(_spans(height, window), _spans(width, window)):
        count += 1
        y, x = max(0, top - lap // 2), max(0, left - lap // 2)
        part = np.ascontiguousarray(rgb[y : bottom + lap // 2, x : right + lap // 2])
        try:
            found = find_cells(part, um_per_px=um_per_px, red_cell_um=red_cell_um)
        except PictureError as error:
            refused = error
            warnings[error.what] += 1
            continue
        for cell in (_moved(each, x, y) for each in found.cells):
            at = cell.centre
            own = left - _SLACK <= at[0] < right + _SLACK and top - _SLACK <= at[1] < bottom + _SLACK
            if own and not any(_overlap(cell.box, other.box) >= _SAME for other in cells):
                cells.append(cell)
        inside = [replace(cell, x=cell.x + x, y=cell.y + y) for cell in found.red_cells]
        red_cells += [cell for cell in inside if left <= cell.x < right and top <= cell.y < bottom]
        # Those in the overlap are seen twice, and where they are is not known.
        platelets += found.platelets * (bottom - top) * (right - left) / part[..., 0].size
        warnings.update(name for name in _OF_WINDOWS if any(name in text for text in found.warnings))
    if refused is not None and warnings[refused.what] == count:
        raise refused
    ruler = ruler_of(red_cells, um_per_px=um_per_px, red_cell_um=red_cell_um)
    told = [f"{text}, in {times} of {count} windows" for text, times in warnings.items()]
    told += cell_warnings(cells, len(red_cells), ruler)
    ordered = tuple(sorted(cells, key=lambda cell: (cell.box[1], cell.box[0])))
    return Finding(ordered, tuple(red_cells), ruler, round(platelets), (*ruler.warnings, *told), (height, width))


def _lap(rgb: NDArray[np.uint8], window: int) -> int:
    """By how much windows overlap, an even number of pixels: from the red cells in the middle of the scan."""
    y, x = (max(0, (side - window) // 2) for side in rgb.shape[:2])
    middle = find_red_cells(np.ascontiguousarray(rgb[y : y + window, x : x + window]))
    size = ruler_of(middle).red_cell_px
    return 2 * round((_LAP_UNKNOWN if size is None else min(_LAP * size, window)) / 2)


def _spans(length: int, window: int) -> Iterator[tuple[int, int]]:
    """Start and end of equal parts of at most ``window`` pixels."""
    parts = -(-length // window)
    ends = [round(length * part / parts) for part in range(parts + 1)]
    return pairwise(ends)


def _moved(cell: WhiteCell, x: int, y: int) -> WhiteCell:
    left, top, width, height = cell.box
    by = np.array([x, y], np.float64)
    return replace(
        cell,
        outline=cell.outline + by,
        nucleus=tuple(ring + by for ring in cell.nucleus),
        box=(left + x, top + y, width, height),
    )


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller of two boxes x, y, width, height."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, across) * max(0, down) / min(a[2] * a[3], b[2] * b[3])
