"""What spoils a field: no light or too much, nothing on it, no cells, a photographed screen.

Whether a field is in focus: how wide the edges of its cells are, in diameters of a red cell.

A Gaussian blur of width s turns a step of height c into a slope of at most ``c / (s sqrt(2 pi))``. The steepest slopes
where the picture crosses the level between cells and ground therefore tell s. Stain and exposure scale step and slope
alike and fall out; resolution falls out because s is stated in red cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, grown, reduced_mask
from leukoscope.cells.stain import otsu_levels
from leukoscope.smears.axis import UNUSUAL
from leukoscope.smears.ruler import Ruler
from leukoscope.smears.stain import density
from leukoscope.smears.whitecells import WhiteCell

_BLACK = 16  # level: a picture whose brightest hundredth is darker has no light
_FLAT = 6.0  # levels between the 1 % and the 99 % quantile: less is a blank picture
_DIM = 96.0  # level of the ground's brightest channel: half of the dimmest of four laboratories' (192)
_FULL = 254.0  # level of the ground's darkest channel: light beyond it is lost, and pale cytoplasm with it
REFUSED: Final = "larger than any white cell and left out"
_COARSE = 400  # pixels: the longest side that brightness is judged at
_TILE = 256  # pixels: windows in which a screen's grid is sought
_PEAK = (
    2000.0  # power of a peak over the median of its ring: real smears stay below 300, grids of 3 levels exceed 50 000
)
_FROM = 0.12  # cycles per pixel: coarser repeats are cells


def blank_reason(rgb: NDArray[np.uint8]) -> str | None:
    """Why the picture can show nothing: black or blank; None where it may.

    >>> blank_reason(np.zeros((300, 300, 3), np.uint8))
    'the field is black'
    """
    scale = min(1.0, _COARSE / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    some = np.asarray(cv2.GaussianBlur(small, (0, 0), 2.0), np.uint8)  # the camera's noise is nothing to be seen
    low, high = (float(q) for q in np.quantile(some.max(axis=2), (0.01, 0.99)))
    if high < _BLACK:
        return "the field is black"
    darkest = float(np.quantile(some.min(axis=2), 0.01))
    if high - min(low, darkest) < _FLAT or float(np.ptp(np.quantile(some[..., 1], (0.01, 0.99)))) < _FLAT:
        return "the field is blank: all of it has one brightness"
    return None


def warnings_of(rgb: NDArray[np.uint8], cells: Sequence[WhiteCell], red_cells: int, ruler: Ruler) -> tuple[str, ...]:
    """What the user must know of this field, in sentences without a full stop."""
    grid = screen_grid(rgb)
    screen = (f"the picture has a fine regular grid ({grid or 0:.1f} px): it may be a photograph of a screen",)
    return (*cell_warnings(cells, red_cells, ruler), *(screen if grid is not None else ()))


def light_warnings(ground: NDArray[np.float64]) -> tuple[str, ...]:
    """Whether the ground's light, float64 [3] in levels, is too little or too much to see pale cytoplasm by.

    >>> light_warnings(np.array([255.0, 255.0, 254.0]))
    ('overexposed: the ground is at the top of all three channels, so pale cytoplasm may be lost',)
    """
    if float(ground.max()) < _DIM:
        return (f"underexposed: the ground's brightest channel is at level {ground.max():.0f} of 255",)
    if float(ground.min()) >= _FULL:
        return ("overexposed: the ground is at the top of all three channels, so pale cytoplasm may be lost",)
    return ()


def cell_warnings(cells: Sequence[WhiteCell], red_cells: int, ruler: Ruler) -> tuple[str, ...]:
    """What is wrong with the cells that were found, and with the red cells beside a given scale."""
    found = []
    if not cells:
        found.append("no white cell was found")
    if not red_cells and ruler.source == "given":
        found.append("no red cell was found to check the given scale with")
    cut = sum(cell.state == "cut" for cell in cells)
    torn = sum(cell.state == "smudged" for cell in cells)
    if torn:
        found.append(f"{torn} white {'cell is' if torn == 1 else 'cells are'} smudged")
    if cut:
        found.append(f"{cut} white {'cell is' if cut == 1 else 'cells are'} cut by the edge of the picture")
    return tuple(found)


def refused_warning(count: int) -> tuple[str, ...]:
    """That outlines were too large for white cells.

    >>> refused_warning(0)
    ()
    """
    if not count:
        return ()
    things = "purple part is" if count == 1 else "purple parts are"
    return (f"{count} {things} {REFUSED}: white cells may be missed",)


def doubts(warnings: Sequence[str]) -> tuple[str, ...]:
    """Those of a field's warnings that say its cells themselves cannot be relied on."""
    return tuple(text for text in warnings if UNUSUAL in text or REFUSED in text)


def screen_grid(rgb: NDArray[np.uint8]) -> float | None:
    """Period in pixels of a fine regular grid, as the moire of a photographed screen has; None where there is none.

    The power spectra of windows are averaged (Welch 1967, IEEE Trans. Audio Electroacoustics 15); a grid is a peak far
    above the median power of its own spatial frequency, where a smear is smooth. The 8 px blocks of JPEG do not count.

    Args:
        rgb: uint8 [H, W, 3].
    """
    height, width = rgb.shape[:2]
    side = min(_TILE, height, width)
    if side < 64:
        return None
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.zeros((side, side))
    rows = np.linspace(0, height - side, min(3, 1 + (height - side) // side)).astype(int)
    columns = np.linspace(0, width - side, min(3, 1 + (width - side) // side)).astype(int)
    for top in rows:
        for left in columns:
            grey = cv2.cvtColor(rgb[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY).astype(np.float64)
            power += np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    across = np.fft.fftfreq(side)
    frequency = np.hypot(across[:, None], across[None, :])
    eighth = 2.5 / side
    blocks = [np.abs(np.abs(across) * 8 - np.rint(np.abs(across) * 8)) / 8 < eighth for _ in (0, 1)]
    on_axis = np.abs(across) < eighth
    jpeg = (blocks[0][:, None] & on_axis[None, :]) | (on_axis[:, None] & blocks[1][None, :])
    jpeg |= blocks[0][:, None] & blocks[1][None, :]
    seen = (frequency > _FROM) & (frequency < 0.46) & ~jpeg
    ring = np.minimum((frequency * 40).astype(int), 20)
    median = np.array(
        [np.median(power[(ring == i) & seen]) if ((ring == i) & seen).any() else np.inf for i in range(21)]
    )
    ratio = np.where(seen, power / np.maximum(median[ring], 1e-9), 0.0)
    # Quantisation alone gives each frequency about side^2 / 12 times the window's power: a peak must exceed that too.
    ratio[power < 50 * float((window**2).sum()) / 12 * len(rows) * len(columns)] = 0
    best = int(np.argmax(ratio))
    if ratio.flat[best] < _PEAK:
        return None
    return float(1 / frequency.flat[best])


#: Of a red cell's diameter: wider edges are out of focus. Chosen on fields of even number of `bccd` (docs/fields.md).
WIDEST_EDGE: Final = 0.046

_UNIT = 80.0  # pixels to a red cell: larger pictures are reduced to it
SMOOTHING: Final = 1 / 80  # of a red cell: Gaussian before slopes are taken, for noise
_MIDDLE = 800  # pixels of the reduced picture: the middle that is judged
_BAND = 0.15  # of the step: how near to the level an edge's pixels lie
_STEEP = 0.97  # quantile of slopes there: what is sharpest in the field; the edges of pale middles are not
_LEAST = 50  # pixels of edges: fewer tell nothing
_LEAST_STEP = 0.02  # in density: less is noise


def edge_width(rgb: NDArray[np.uint8], red_cell: float, hidden: Mask | None = None) -> float | None:
    """Width of the field's sharpest edges as that of a Gaussian blur, in diameters of a red cell.

    Args:
        rgb: uint8 [H, W, 3].
        red_cell: diameter of a red cell in pixels, or what stands for it.
        hidden: bool [H, W], what shows no smear, see `smears.seen`.

    Returns:
        None where there are no edges to judge by.
    """
    scale = min(1.0, _UNIT / red_cell)
    unit = red_cell * scale
    part = _middle(rgb, _MIDDLE / scale)
    small = part if scale == 1 else cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    shown = np.ones(small.shape[:2], np.bool_)
    if hidden is not None:
        shown = ~grown(reduced_mask(_middle(hidden, _MIDDLE / scale), small.shape), 2)
        if not shown.any():
            return None
    value = density(np.ascontiguousarray(small, np.uint8), sigma=SMOOTHING * unit, hidden=~shown).red
    (level,) = otsu_levels(value[shown])
    above = value > level
    if not above[shown].any() or above[shown].all():
        return None
    step = float(np.median(value[above & shown]) - np.median(value[~above & shown]))
    at_edge = np.asarray((np.abs(value - level) < _BAND * step) & shown)
    if step < _LEAST_STEP or np.count_nonzero(at_edge) < _LEAST:
        return None
    across, down = (cv2.Sobel(value, cv2.CV_32F, *order)[at_edge] / 8 for order in ((1, 0), (0, 1)))
    steepest = float(np.quantile(np.hypot(across, down), _STEEP))
    return step / (math.sqrt(2 * math.pi) * max(steepest, 1e-6) * unit)


def focus_warning(
    rgb: NDArray[np.uint8], red_cell: float, *, known: bool, hidden: Mask | None = None
) -> tuple[str, ...]:
    """The warning of a field out of focus; nothing where it is in focus or cannot be judged.

    Args:
        rgb: uint8 [H, W, 3].
        red_cell: diameter of a red cell in pixels.
        known: whether that was measured or given, not guessed by the nuclei: a guess is not stated.
        hidden: bool [H, W], what shows no smear.
    """
    width = edge_width(rgb, red_cell, hidden)
    if width is None or width <= WIDEST_EDGE:
        return ()
    if not known:
        return ("out of focus: even its sharpest edges are wide",)
    return (f"out of focus: its sharpest edges are {width:.1%} of a red cell wide, more than {WIDEST_EDGE:.1%}",)


def _middle(rgb: NDArray[Any], side: float) -> NDArray[Any]:
    top, left = (max(0, (length - round(side)) // 2) for length in rgb.shape[:2])
    return rgb[top : rgb.shape[0] - top, left : rgb.shape[1] - left]
