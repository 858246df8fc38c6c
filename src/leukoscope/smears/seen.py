"""What of a picture shows the smear: not the black around an eyepiece's circle, nor what was drawn over the picture.

A black surround, a letterbox, a scale bar, a data bar, text, arrows and frames have no light of the smear. One per cent
of them stretches every histogram that levels are read from, and their edges are no cell's. They are told by colours
that no stained smear has, and neither the light nor the red cells nor the white ones are sought there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.cutout import brightest
from leukoscope.cells.masks import Mask, components, enclosed, eroded, grown
from leukoscope.smears.stain import ground_light

_BLACK: Final = 0.16  # of the bright level: nuclei let more blue light pass, also under a weak lamp
_VIVID: Final = 0.68  # of it, between the strongest and the weakest channel; and at most this of the weakest:
_WEAKEST: Final = 0.25
_WHITE = 250  # level: paper white
_GAP = 6  # levels: ground nearer to white than this is not told from it
_MOST_WHITE = 0.08  # of the picture: more is the ground itself, or light that the camera lost
_FEW = 1e-5  # of the picture, or:
_LEAST = 24  # pixels: smaller specks are dirt
_MARGIN = 3  # pixels: soft edges of what was drawn, and the ringing of JPEG around it
_ISLAND = 0.1  # of the largest lit part: smaller ones in a black surround are writing
_EDGE = 0.02  # of a row: fewer lit pixels are left out with the surround
_COARSE, _SIDE = 128, 320  # pixels: the form of what is lit is judged at these
_ROUGHLY, _FORM = (
    0.97,
    0.985,
)  # of the rectangle and circle around it: what fills more was bounded by an instrument, not by a cell
_PURPLE, _MOST_PURPLE = 1.32, 0.75  # blue over green light; share of what is lit: a disc of nothing else is a cell
_NUCLEUS = 0.3  # of a round cell: its nucleus; of a crop it is a fifth at most
_SOFT = 0.04  # of what is lit: its edge may be soft, or not quite the cell's
_EVEN = 12.0  # levels of green: what varies less is of one colour
_CELL_SIDE = 900  # pixels: no cell on black is larger


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The part of a picture that shows the smear.

    Attributes:
        rgb: uint8 [h, w, 3], the box around it, hidden pixels in the colour of the ground.
        hidden: bool [h, w], what shows no smear; None where all does.
        left: first column of the box in the picture.
        top: first row.
        left_out: share of the picture that shows no smear.
    """

    rgb: NDArray[np.uint8]
    hidden: Mask | None
    left: int
    top: int
    left_out: float


def seen_part(rgb: NDArray[np.uint8]) -> Seen:
    """Leave out a black surround and whatever was drawn over the picture.

    Args:
        rgb: uint8 [H, W, 3], at least one pixel.
    """
    hidden = hidden_parts(rgb)
    if hidden is None:
        return Seen(rgb, None, 0, 0, 0.0)
    rows, columns = (np.flatnonzero((~hidden).mean(axis=axis) > _EDGE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return Seen(rgb, None, 0, 0, 0.0)
    share = float(hidden.mean())
    box = np.s_[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    part, inner = np.array(rgb[box]), np.ascontiguousarray(hidden[box])
    if not inner.any():
        return Seen(part, None, int(columns[0]), int(rows[0]), share)
    part[inner] = np.rint(ground_light(part, inner)).astype(np.uint8)
    return Seen(part, inner, int(columns[0]), int(rows[0]), share)


def hidden_parts(rgb: NDArray[np.uint8]) -> Mask | None:
    """What of a picture shows no smear, bool [H, W] with a margin; None where all of it does.

    Args:
        rgb: uint8 [H, W, 3].
    """
    red, green, blue = (cv2.extractChannel(rgb, channel) for channel in range(3))
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    bright = _bright(np.asarray(most, np.uint8))
    if bright < 16:
        return None  # nothing is lit: the field is black
    black = np.asarray(most <= _BLACK * bright)
    vivid = np.asarray((cv2.subtract(most, least) >= _VIVID * bright) & (least <= _WEAKEST * bright))
    if vivid.any():  # chromatin lets blue pass and keeps green back: of the strong colours it alone may be a cell's
        vivid &= ~((blue > green) & (red > green) & (red < 0.9 * bright))
    white = _white(rgb, np.asarray(least >= _WHITE))
    drawn = black | vivid if white is None else black | vivid | white
    if np.count_nonzero(drawn) < max(_LEAST, _FEW * drawn.size):
        return None
    labels, areas = components(drawn)
    large = areas >= max(_LEAST, _FEW * drawn.size)
    large[0] = False
    if not large.any():
        return None
    hidden = np.asarray(large[labels])
    return _with_islands(grown(hidden, _MARGIN), hidden)


def _bright(most: NDArray[np.uint8]) -> float:
    """Level that nine tenths of the lit pixels do not exceed."""
    some = most.ravel()[:: max(1, most.size // (1 << 18))]
    counts = np.bincount(some, minlength=256)
    counts[:26] = 0
    total = int(counts.sum())
    return float(np.searchsorted(np.cumsum(counts), 0.9 * total)) if total else float(some.max())


def _white(rgb: NDArray[np.uint8], white: Mask) -> Mask | None:
    """Paper white that is not the ground's own light; None where there is none, or it cannot be told."""
    count = np.count_nonzero(white)
    if count < _LEAST or count > _MOST_WHITE * white.size:
        return None
    return white if ground_light(rgb, white).min() < _WHITE - _GAP else None


def _with_islands(hidden: Mask, black: Mask) -> Mask:
    """The same with writing in a surround or in a bar: lit parts that are small and enclosed in it."""
    if black.mean() < 0.01:
        return hidden
    labels, areas = components(~hidden, connectivity=4)
    small = areas < _ISLAND * areas.max()
    small[0] = False
    # A part of the smear beside a thin frame is kept: what is enclosed by black on all sides goes.
    return np.asarray(hidden | small[labels])


def bounded_by_instrument(rgb: NDArray[np.uint8]) -> bool:
    """Whether what is lit on black fills a rectangle, a circle or what both share, and is not all purple.

    Of 500 cells on black of three laboratories none filled more than 0.968 of the circle around it or 0.816 of the box;
    the limits were set on these same cells and on drawn ones, so they are no measure for others.

    Args:
        rgb: uint8 [H, W, 3], black at its edges.
    """
    if _form(rgb, _COARSE) < _ROUGHLY:  # cells on black go here, in a few tenths of a millisecond
        return False
    return _form(rgb, _SIDE) >= _FORM


def _form(rgb: NDArray[np.uint8], side: int) -> float:
    """Share of the rectangle and circle around what is lit that it fills; 0 where it has one colour or is purple."""
    scale = min(1.0, side / max(rgb.shape[:2]))
    small = rgb if scale == 1 else cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    most = brightest(np.ascontiguousarray(small, np.uint8))
    lines, _ = cv2.findContours(
        (most > max(10.0, _BLACK * _bright(most))).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    line = max(lines, key=cv2.contourArea, default=None)
    if line is None or cv2.contourArea(line) < 16:
        return 0.0
    left, top, width, height = cv2.boundingRect(line)
    if max(width, height) / scale > _CELL_SIDE:
        return 1.0
    (middle_x, middle_y), radius = cv2.minEnclosingCircle(line)
    rows, columns = np.ogrid[top : top + height, left : left + width]
    inside = (columns - middle_x) ** 2 + (rows - middle_y) ** 2 <= radius**2
    share = enclosed(np.asarray(line, np.int32)) / max(1.0, float(inside.sum()))
    if share < _ROUGHLY:
        return share
    body = np.zeros(most.shape, np.uint8)
    cv2.drawContours(body, [line], -1, (1,), cv2.FILLED)
    inner = eroded(body > 0, max(2, _SOFT * min(width, height)))
    lit, rim = (small[mask].astype(np.float32) for mask in (inner, inner & ~eroded(inner, 3)))
    if not len(rim) or _range(lit) < _EVEN:
        return 0.0
    purple = float(np.mean(lit[:, 2] + 1 > _PURPLE * (lit[:, 1] + 1)))
    # A round cell has cytoplasm all along its rim; a field's circle runs through ground and red cells.
    return share if purple < (_MOST_PURPLE if _range(rim) >= _EVEN else _NUCLEUS) else 0.0


def _range(pixels: NDArray[np.float32]) -> float:
    """Of green, in levels, single pixels left out."""
    return float(np.ptp(np.quantile(pixels[:, 1], (0.02, 0.98))))
