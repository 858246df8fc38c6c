"""From a picture to its white cells, its scale and its warnings: one call."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import components, opened
from leukoscope.errors import PictureError
from leukoscope.fields.density import Density, density
from leukoscope.fields.faults import blank_reason, light_warnings, warnings_of
from leukoscope.fields.focus import focus_warning
from leukoscope.fields.nuclei import FAINT, Nuclei, find_nuclei
from leukoscope.fields.redcells import RedCell
from leukoscope.fields.ruler import RED_CELL_UM, Ruler, read_ruler
from leukoscope.fields.whitecells import WhiteCell, grow_cells

MIN_SIDE = 200  # pixels: the smallest field
MAX_PIXELS = 40_000_000  # of a field: larger ones are scans
_UNIT = 48.0  # pixels to a red cell at which white cells are sought
_WORK = 6_000_000  # pixels: the largest picture worked on
_TYPICAL_NUCLEUS = 1.25  # of a red cell's diameter, used where no red cell is found
_NO_SCALE_SIDE = 700  # pixels: the side worked at where no red cell is found


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What a field shows.

    Attributes:
        cells: white cells, from top to bottom.
        red_cells: those that the ruler was read from.
        ruler: the scale.
        platelets: how many purple things were too small or too pale for a white cell: platelets, stain dirt.
        warnings: what the answer may suffer from, in sentences.
        shape: height and width of the picture.
    """

    cells: tuple[WhiteCell, ...]
    red_cells: tuple[RedCell, ...]
    ruler: Ruler
    platelets: int
    warnings: tuple[str, ...]
    shape: tuple[int, int]


def find_cells(
    rgb: NDArray[np.uint8],
    *,
    um_per_px: float | None = None,
    red_cell_um: float = RED_CELL_UM,
    min_side: int = MIN_SIDE,
) -> Finding:
    """Find the white cells of a field, and its scale.

    Args:
        rgb: uint8 [H, W, 3].
        um_per_px: the scale where it is known; None: the red cells give it.
        red_cell_um: mean diameter of a red cell, micrometres.
        min_side: a shorter side is refused.

    Raises:
        PictureError: the array is no picture, or too small or too large for a field, or black or blank.
        ValueError: a length is not positive.
    """
    check_picture(rgb)
    height, width = rgb.shape[:2]
    if min(height, width) < min_side:
        raise PictureError(
            f"a field of {width} x {height} px is too small", remedy=f"give {min_side} px or more to each side"
        )
    if height * width > MAX_PIXELS:
        raise PictureError(
            f"a field of {width} x {height} px is a scan of a slide, not a field",
            remedy="use leukoscope.fields.scan.find_in_windows",
        )
    why = blank_reason(rgb)
    if why is not None:
        raise PictureError(why, remedy="give a stained smear, in focus and lit")
    ruler, red_cells = read_ruler(rgb, um_per_px=um_per_px, red_cell_um=red_cell_um)
    unit = _unit(ruler, red_cell_um)
    scale = _scale(unit, height, width)
    small = _reduced(rgb, scale)
    stained = density(small, sigma=0.017 * (unit * scale if unit else 60.0))
    nuclei, red_cell = _nuclei(stained, None if unit is None else unit * scale)
    cells = grow_cells(stained.purple, nuclei, red_cell, scale, (height, width))
    spoilt = (*light_warnings(stained.ground), *focus_warning(rgb, red_cell / scale, known=unit is not None))
    warnings = (*ruler.warnings, *spoilt, *warnings_of(rgb, cells, len(red_cells), ruler))
    return Finding(tuple(cells), tuple(red_cells), ruler, nuclei.platelets, warnings, (height, width))


def check_picture(rgb: NDArray[np.uint8]) -> None:
    """Raise PictureError for an array that is no uint8 [H, W, 3] of at least one pixel."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise PictureError(f"a picture is uint8 [height, width, 3], not {rgb.dtype} {list(rgb.shape)}")


def _reduced(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return rgb
    return np.array(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _unit(ruler: Ruler, red_cell_um: float) -> float | None:
    """Diameter of a red cell in pixels: as measured; else from the given scale; else None."""
    if ruler.red_cell_px is not None:
        return ruler.red_cell_px
    return None if ruler.um_per_px is None else red_cell_um / ruler.um_per_px


def _scale(unit: float | None, height: int, width: int) -> float:
    if unit is None:
        return min(1.0, _NO_SCALE_SIDE / max(height, width))
    return min(1.0, _UNIT / unit, float(np.sqrt(_WORK / (height * width))))


def _nuclei(stained: Density, red_cell: float | None) -> tuple[Nuclei, float]:
    """Nuclei, and the red cell's diameter that they were judged by."""
    if red_cell is not None and red_cell >= 4:
        return find_nuclei(stained.purple, stained.middle, stained.spread, red_cell), red_cell
    # No ruler: what is largest and purple stands for a nucleus, and a red cell is somewhat smaller.
    # Ground at the top of all levels has no spread: then what is more than faint.
    beyond = np.asarray(stained.purple > stained.middle + max(5 * stained.spread, FAINT))
    _, areas = components(opened(beyond, 1))
    largest = float(areas.max())
    guess = max(8.0, float(np.sqrt(4 * largest / np.pi)) / _TYPICAL_NUCLEUS)
    return find_nuclei(stained.purple, stained.middle, stained.spread, guess), guess
