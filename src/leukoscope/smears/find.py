"""From a picture to its white cells, its scale and its warnings: one call for a field, a crop or a scan.

A crop is a small field whose middle cell is outlined with more care; a picture too large for one field, a scan of a
slide, is read in overlapping windows as if each were a field.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.crop import MIN_CROP_SIDE, segment_crop
from leukoscope.cells.masks import components, opened, reduced_mask
from leukoscope.cells.scale import PixelSize
from leukoscope.cells.segment import segment
from leukoscope.cells.stain import otsu_levels
from leukoscope.errors import PictureError
from leukoscope.smears.axis import UNUSUAL, stain_axis
from leukoscope.smears.faults import (
    REFUSED,
    blank_reason,
    cell_warnings,
    focus_warning,
    light_warnings,
    refused_warning,
    warnings_of,
)
from leukoscope.smears.nuclei import FAINT, Nuclei, find_nuclei
from leukoscope.smears.redcells import RedCell
from leukoscope.smears.ruler import RED_CELL_UM, Ruler, Source, find_red_cells, read_ruler, ruler_of, stated_ruler
from leukoscope.smears.seen import Seen, seen_part
from leukoscope.smears.stain import Density, density
from leukoscope.smears.whitecells import WhiteCell, cut_by, grow_cells, outline_cells, white_cell

MIN_FIELD_SIDE = 200  # pixels: the smallest field
MAX_FIELD_PIXELS = 40_000_000  # of a field: larger ones are scans
_UNIT = 48.0  # pixels to a red cell at which white cells are sought
_WORK = 6_000_000  # pixels: the largest picture worked on
_TYPICAL_NUCLEUS = 1.25  # of a red cell's diameter, used where no red cell is found
_LARGEST_CELL = 12.0  # of a red cell's area: no white cell of a smear is larger than 26 um across
_LARGEST_SHARE = 0.5  # of the picture: nor so large a part of a field
_MOST_NUCLEUS = 0.4  # of the picture: what is more is no nucleus
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
        left_out: share of the picture that shows no smear: a black surround, what was drawn over it.
    """

    cells: tuple[WhiteCell, ...]
    red_cells: tuple[RedCell, ...]
    ruler: Ruler
    platelets: int
    warnings: tuple[str, ...]
    shape: tuple[int, int]
    left_out: float = 0.0


def find_cells(
    rgb: NDArray[np.uint8],
    *,
    um_per_px: float | None = None,
    red_cell_um: float = RED_CELL_UM,
    min_side: int = MIN_FIELD_SIDE,
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
    if rgb.shape[0] * rgb.shape[1] > MAX_FIELD_PIXELS:
        raise PictureError(
            f"a field of {rgb.shape[1]} x {rgb.shape[0]} px is a scan of a slide, not a field",
            remedy="use leukoscope.smears.find.find_in_windows",
        )
    seen = seen_part(rgb)
    height, width = seen.rgb.shape[:2]
    if min(height, width) < min_side:
        raise PictureError(
            f"a field of {width} x {height} px is too small{' (a black surround left out)' if seen.left_out else ''}",
            remedy=f"give {min_side} px or more to each side",
        )
    why = blank_reason(seen.rgb)
    if why is not None:
        raise PictureError(why, remedy="give a stained smear, in focus and lit")
    return _in_picture(_find(seen, um_per_px, red_cell_um), seen, rgb.shape)


def find_framed(rgb: NDArray[np.uint8], *, um_per_px: float | None, standard: float | None) -> Finding:
    """A picture of one cell on black as a field with one cell.

    Args:
        rgb: uint8 [H, W, 3].
        um_per_px: the scale where it is known.
        standard: that of the training cells, where the picture is of the size of theirs; else None.

    Raises:
        PictureError: it holds no cell on black.
    """
    parts = segment(rgb)
    shape = (rgb.shape[0], rgb.shape[1])
    cell = white_cell((parts.cell, 0, 0), (parts.nucleus, 0, 0), 1.0, 1.0, shape, math.inf)
    if cell is None:
        raise PictureError("holds no cell with an outline")
    source: Source = "given" if um_per_px else "training cells" if standard else "unknown"
    ruler = Ruler(um_per_px or standard, None, None, source, 0, None)
    return Finding((replace(cell, state="whole"),), (), ruler, 0, (), shape)  # cut or not, the gate tells


def by_stated_scale(finding: Finding, stated: PixelSize, red_cell_um: float = RED_CELL_UM) -> Finding:
    """What was found with the scale that a file states, by `smears.ruler.stated_ruler`: the red cells may contradict.

    Cells are sought and outlined by the red cells as measured, whatever the scale: only the ruler changes.
    """
    ruler = stated_ruler(stated, finding.red_cells, red_cell_um=red_cell_um)
    kept = (text for text in finding.warnings if text not in finding.ruler.warnings)
    return replace(finding, ruler=ruler, warnings=(*ruler.warnings, *kept))


def _find(seen: Seen, um_per_px: float | None, red_cell_um: float) -> Finding:
    """What the seen part of a picture shows, in its own pixels."""
    rgb, hidden = seen.rgb, seen.hidden
    height, width = rgb.shape[:2]
    ruler, red_cells = read_ruler(rgb, um_per_px=um_per_px, red_cell_um=red_cell_um, hidden=hidden)
    unit = _unit(ruler, red_cell_um)
    scale = _scale(unit, height, width)
    small = _reduced(rgb, scale)
    veiled = None if hidden is None else reduced_mask(hidden, small.shape)
    sigma = 0.017 * (unit * scale if unit else 60.0)
    reduced = [replace(cell, x=cell.x * scale, y=cell.y * scale, diameter=cell.diameter * scale) for cell in red_cells]
    axis = stain_axis(small, reduced, sigma=sigma, hidden=veiled)
    stained = density(small, sigma=sigma, hidden=veiled, weights=axis.weights.tolist())
    nuclei, red_cell = _nuclei(stained, None if unit is None else unit * scale)
    most = min(_LARGEST_CELL * math.pi / 4 * (red_cell / scale) ** 2, _LARGEST_SHARE * height * width)
    grown = grow_cells(stained.purple, nuclei, red_cell, scale, (height, width), veiled) if axis.ordinary else []
    if not axis.ordinary or any(cell.area > most for cell in grown):
        grown = outline_cells(small, stained, nuclei, red_cell, scale, (height, width), veiled)
    cells = [cell for cell in grown if cell.area <= most]
    refused = nuclei.refused + len(grown) - len(cells)
    if hidden is not None:
        cells = [cut_by(cell, hidden) for cell in cells]
    focus = focus_warning(rgb, red_cell / scale, known=unit is not None, hidden=hidden)
    spoilt = (*light_warnings(stained.ground), *focus)
    warnings = (
        *axis.warnings, *refused_warning(refused), *ruler.warnings, *spoilt,
        *warnings_of(rgb, cells, len(red_cells), ruler),
    )  # fmt: skip
    return Finding(tuple(cells), tuple(red_cells), ruler, nuclei.platelets, warnings, (height, width))


def _in_picture(finding: Finding, seen: Seen, shape: tuple[int, ...]) -> Finding:
    """The same in pixels of the picture that the part was seen in."""
    x, y = seen.left, seen.top
    cells, red = finding.cells, finding.red_cells
    if x or y:
        cells = tuple(_moved(cell, x, y) for cell in cells)
        red = tuple(replace(cell, x=cell.x + x, y=cell.y + y) for cell in red)
    return replace(finding, cells=cells, red_cells=red, shape=(shape[0], shape[1]), left_out=seen.left_out)


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
    level = stained.middle + max(5 * stained.spread, FAINT)
    largest = math.inf
    while largest > _MOST_NUCLEUS * stained.purple.size:
        _, areas = components(opened(np.asarray(stained.purple > level), 1))
        largest = float(areas.max())
        above = stained.purple[stained.purple > level]
        level = max(float(np.nextafter(level, np.inf)), *otsu_levels(above)) if above.size else level
    guess = max(8.0, float(np.sqrt(4 * largest / np.pi)) / _TYPICAL_NUCLEUS)
    return find_nuclei(stained.purple, stained.middle, stained.spread, guess), guess


_ALL: Final = 0.9  # of the picture: an outline that takes in more has found no surroundings to end at


def find_in_crop(
    rgb: NDArray[np.uint8], *, um_per_px: float | None = None, red_cell_um: float = RED_CELL_UM
) -> Finding:
    """Find the white cells of a crop: as `find_cells`, but the middle one is outlined by `cells.crop`.

    A crop shows too little ground and too few other cells for levels estimated from the picture; that there is one cell
    in the middle is known instead.

    Args:
        rgb: uint8 [H, W, 3], told `crop` by `kind_of`.
        um_per_px: the scale where it is known; None: the red cells give it.
        red_cell_um: mean diameter of a red cell, micrometres.

    Raises:
        PictureError: the array is no picture or too small, or black or blank.
        ValueError: a length is not positive.
    """
    finding = find_cells(rgb, um_per_px=um_per_px, red_cell_um=red_cell_um, min_side=MIN_CROP_SIDE)
    middle = _middle_cell(rgb, finding.ruler.red_cell_px or math.inf)
    if middle is None:
        return finding
    others = [cell for cell in finding.cells if not _covers(middle, cell)]
    cells = sorted([*others, middle], key=lambda cell: (cell.box[1], cell.box[0]))
    old, new = (cell_warnings(each, len(finding.red_cells), finding.ruler) for each in (finding.cells, cells))
    # What an outline was in a field's eyes says nothing of the one that took its place.
    kept = (text for text in finding.warnings if text not in (*old, UNUSUAL) and REFUSED not in text)
    warnings = (*kept, *new)
    return replace(finding, cells=tuple(cells), warnings=warnings)


def _middle_cell(rgb: NDArray[np.uint8], red_cell: float) -> WhiteCell | None:
    """The cell in the middle; None where nothing there stains as a nucleus, or the outline takes in everything."""
    try:
        seen = seen_part(rgb)
        parts = segment_crop(seen.rgb)
    except PictureError:
        return None
    if parts.outline.mean() > _ALL:
        return None
    shape = (seen.rgb.shape[0], seen.rgb.shape[1])
    cell = white_cell((parts.outline, 0, 0), (parts.nucleus, 0, 0), 1.0, 1.0, shape, red_cell)
    if cell is not None and seen.hidden is not None:
        cell = cut_by(cell, seen.hidden)
    return None if cell is None else _moved(cell, seen.left, seen.top)


def _covers(middle: WhiteCell, other: WhiteCell) -> bool:
    """Whether at least half of the smaller of the two boxes lies within the other."""
    a, b = middle.box, other.box
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, across) * max(0, down) >= 0.5 * min(a[2] * a[3], b[2] * b[3])


WINDOW = 2048  # pixels: side of the part of a window that is its own
_LAP = 3.5  # of a red cell's diameter, 26 um: windows overlap by it, so that half of it holds half of any white cell
_LAP_UNKNOWN = 600  # pixels, where the middle of the scan shows no red cell
SLACK: Final = 8  # pixels: the middle of one cell may differ by it between two windows
_OF_WINDOWS = (UNUSUAL, "out of focus", "underexposed", "overexposed", "it may be a photograph of a screen")
SAME_CELL: Final = 0.3  # overlap of boxes from which two cells of two windows are one


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
            own = left - SLACK <= at[0] < right + SLACK and top - SLACK <= at[1] < bottom + SLACK
            if own and not any(box_overlap(cell.box, other.box) >= SAME_CELL for other in cells):
                cells.append(cell)
        inside = [replace(cell, x=cell.x + x, y=cell.y + y) for cell in found.red_cells]
        red_cells += [cell for cell in inside if left <= cell.x < right and top <= cell.y < bottom]
        # Those in the overlap are seen twice, and where they are is not known.
        platelets += found.platelets * (bottom - top) * (right - left) / part[..., 0].size
        warnings.update(name for name in _OF_WINDOWS if any(name in text for text in found.warnings))
        warnings.update(f"purple parts {REFUSED}" for text in found.warnings if REFUSED in text)
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


def box_overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """Intersection over the smaller of two boxes x, y, width, height."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, across) * max(0, down) / min(a[2] * a[3], b[2] * b[3])
