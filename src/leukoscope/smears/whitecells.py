"""White cells around their nuclei: cytoplasm, contours, and whether a cell is whole, cut or smudged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, closed, components, filled, grown, opened, reduced_mask
from leukoscope.cells.outline import outline_around
from leukoscope.cells.stain import Floats, otsu_levels
from leukoscope.smears.nuclei import Nuclei, windows_of
from leukoscope.smears.stain import Density, middle_and_spread

_PALE = 2.0  # spreads above the middle: where cytoplasm ends
_REACH = 0.8  # of a red cell's diameter beyond the nucleus' hull: cytoplasm reaches no farther (6 um)
_FINE = 32.0  # pixels to a red cell: enough for the outline of a cell
_LEAST_SHARE = 0.12  # of the nucleus' own purple: cytoplasm has at least this
_CLOSE, _OPEN = 0.12, 0.2  # of a red cell's diameter: gaps closed, necks to what is not the cell opened away
_PARTS = 4  # of a pixel's side: in which contours are drawn and filled
_RAGGED = 0.80  # solidity below which a cell is smudged
_SWOLLEN = 1.9  # of a red cell's diameter: a nucleus of 14 um and more without cytoplasm is spread out

_AROUND = 1.8  # of a red cell's diameter: surroundings of a nucleus in which its cell is outlined
_BEYOND = 0.15  # of it: margin by which a window is continued
_SAMPLE = 60_000  # pixels that a level is estimated from

_TOUCH = 3  # pixels between a contour and what hides the rest of the cell
_TOUCHING = 0.04  # of the contour: less is a corner

State = Literal["whole", "cut", "smudged"]
Points = NDArray[np.float64]
Part = tuple[Mask, int, int]  # a mask within a window, with the window's left and top


@dataclass(frozen=True, slots=True, eq=False)
class WhiteCell:
    """One white cell, in pixels of the picture.

    Attributes:
        outline: float64 [N, 2], x and y of its contour.
        nucleus: contours of the nucleus' lobes, each float64 [M, 2].
        box: x, y, width, height.
        area: of the cell, square pixels.
        nucleus_area: square pixels.
        state: `whole`; `cut` by the picture's edge; `smudged`: spread out or ragged, its form says nothing.
    """

    outline: Points
    nucleus: tuple[Points, ...]
    box: tuple[int, int, int, int]
    area: float
    nucleus_area: float
    state: State

    @property
    def diameter(self) -> float:
        """Of the disc of the cell's area, pixels."""
        return float(np.sqrt(4 * self.area / np.pi))

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2

    def mask(self, *, part: Literal["cell", "nucleus"] = "cell") -> Mask:
        """Bool [height, width] over `box`."""
        x, y, width, height = self.box
        canvas = np.zeros((_PARTS * height, _PARTS * width), np.uint8)
        rings = (self.outline,) if part == "cell" else self.nucleus
        # In parts of pixels: OpenCV draws what a line touches, half a pixel more than it encloses.
        corners = [np.rint(_PARTS * (ring - (x, y)) - 0.5).astype(np.int32) for ring in rings]
        cv2.fillPoly(canvas, corners, (1,))
        shares = cv2.resize(canvas.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(shares > 0.5)


def grow_cells(
    purple: Floats,
    nuclei: Nuclei,
    red_cell: float,
    scale: float,
    shape: tuple[int, int],
    hidden: Mask | None = None,
) -> list[WhiteCell]:
    """The whole cells around nuclei: what is purple about them and belongs to no other, smoothed.

    Args:
        purple: float32 [h, w], `Density.purple` of the reduced picture.
        nuclei: from `find_nuclei`, at the same size.
        red_cell: diameter of a red cell in pixels of the reduced picture.
        scale: pixels of the reduced picture per pixel of the picture.
        shape: height and width of the picture.
        hidden: bool [h, w] of the reduced picture, what shows no smear.

    Returns:
        Cells in pixels of the picture, from top to bottom.
    """
    if not nuclei.count:
        return []
    fine = min(1.0, _FINE / red_cell)
    size = (max(8, round(purple.shape[1] * fine)), max(8, round(purple.shape[0] * fine)))
    soft = cv2.resize(cv2.GaussianBlur(purple, (0, 0), 0.035 * red_cell), size, interpolation=cv2.INTER_AREA)
    label = np.asarray(cv2.resize(nuclei.label, size, interpolation=cv2.INTER_NEAREST_EXACT), np.int32)
    veiled = None if hidden is None else reduced_mask(hidden, soft.shape)
    middle, spread = middle_and_spread(np.asarray(soft, np.float32), veiled)
    height = np.asarray(soft - middle, np.float32)
    floor = _PALE * spread
    unit = red_cell * fine
    owner = _territories(label, unit)
    cells = []
    windows, reach = windows_of(nuclei.label), windows_of(owner)
    for number, window in windows.items():
        whole = _whole(height, floor, label, owner, number, unit, reach.get(number))
        inner = (np.asarray(nuclei.label[window] == number), window[1].start, window[0].start)
        cell = None if whole is None else white_cell(whole, inner, fine, scale, shape, red_cell / scale)
        if cell is not None:
            cells.append(cell)
    return sorted(cells, key=lambda cell: (cell.box[1], cell.box[0]))


def outline_cells(
    rgb: NDArray[np.uint8],
    stained: Density,
    nuclei: Nuclei,
    red_cell: float,
    scale: float,
    shape: tuple[int, int],
    hidden: Mask | None = None,
) -> list[WhiteCell]:
    """The whole cells around nuclei by colours and edges about each, where the stain does not tell cytoplasm.

    Args:
        rgb: uint8 [h, w, 3], the reduced picture.
        stained: its densities.
        nuclei: from `find_nuclei`, at the same size.
        red_cell: diameter of a red cell in pixels of the reduced picture.
        scale: pixels of the reduced picture per pixel of the picture.
        shape: height and width of the picture.
        hidden: bool [h, w] of the reduced picture, what shows no smear.

    Returns:
        Cells in pixels of the picture, from top to bottom.
    """
    if not nuclei.count:
        return []
    around, margin = round(_AROUND * red_cell), round(_BEYOND * red_cell) + 2
    owner = _territories(nuclei.label, red_cell)
    (level,) = otsu_levels(stained.red.ravel()[:: max(1, stained.red.size // _SAMPLE)])
    red = np.asarray((stained.red > level) & (nuclei.label == 0))
    cells = []
    for number, (rows, columns) in windows_of(nuclei.label).items():
        top, left = max(0, rows.start - around), max(0, columns.start - around)
        part = np.s_[top : rows.stop + around, left : columns.stop + around]
        nucleus = np.asarray(nuclei.label[part] == number)
        barred = np.asarray((owner[part] != number) & (owner[part] > 0) & ~nucleus)
        if hidden is not None:
            barred |= hidden[part]
        # Beyond the picture a cell goes on: without that, none would reach the edge that cuts it.
        light = cv2.copyMakeBorder(rgb[part], margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        inner, stop, pale = (np.pad(mask, margin, mode="edge") for mask in (nucleus, barred, red[part]))
        whole = outline_around(np.asarray(light, np.uint8), inner, pale, stop)[margin:-margin, margin:-margin]
        cell = white_cell((whole, left, top), (nucleus, left, top), 1.0, scale, shape, red_cell / scale)
        if cell is not None:
            cells.append(cell)
    return sorted(cells, key=lambda cell: (cell.box[1], cell.box[0]))


def _territories(label: NDArray[np.int32], unit: float) -> NDArray[np.int32]:
    """Which nucleus' hull is nearest to each pixel, int32 [h, w]; 0 beyond `_REACH`."""
    hulls = np.zeros(label.shape, np.int32)
    for number, window in windows_of(label).items():
        y, x = np.nonzero(label[window] == number)
        points = np.stack([x + window[1].start, y + window[0].start], 1).astype(np.int32)
        cv2.fillConvexPoly(hulls, cv2.convexHull(points), (number,))
    hulls = np.where(label > 0, label, hulls)
    free = (hulls == 0).astype(np.uint8)
    away, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    names = np.zeros(int(nearest.max()) + 1, np.int32)
    names[nearest[free == 0]] = hulls[free == 0]
    return np.where(away <= _REACH * unit, names[nearest], 0).astype(np.int32)


def _whole(
    height: Floats, floor: float, label: NDArray[np.int32], owner: NDArray[np.int32], number: int, unit: float,
    window: tuple[slice, slice] | None,
) -> Part | None:  # fmt: skip
    """One cell within the window of what is nearest to its nucleus; None where the nucleus vanished."""
    if window is None:
        return None
    top, left = window[0].start, window[1].start
    nucleus = np.asarray(label[window] == number)
    if not nucleus.any():
        return None
    mine = owner[window] == number
    own = float(np.median(height[window][nucleus]))
    stained = np.asarray(height[window] > max(floor, _LEAST_SHARE * own))
    margin = int(0.4 * unit) + 3
    # Beyond the picture a cell goes on: without that, smoothing would eat at cut cells.
    wide = np.pad(np.asarray((stained & mine) | nucleus), margin, mode="edge")
    smooth = opened(filled(closed(wide, _CLOSE * unit)), _OPEN * unit)
    mask = np.asarray((smooth[margin:-margin, margin:-margin] & mine) | nucleus)
    parts, _ = components(mask)
    kept = np.unique(parts[nucleus])
    return filled(np.isin(parts, kept[kept > 0])), left, top


def cut_by(cell: WhiteCell, hidden: Mask) -> WhiteCell:
    """The same cell, `cut` where it ends at what shows no smear.

    Args:
        cell: of a picture.
        hidden: bool [H, W] of that picture.
    """
    if cell.state == "cut":
        return cell
    height, width = hidden.shape
    x, y = (
        np.clip(np.rint(cell.outline[:, axis]).astype(int), 0, side - 1) for axis, side in ((0, width), (1, height))
    )
    line = np.zeros((height, width), np.uint8)
    left, top, right, bottom = max(0, x.min() - 3), max(0, y.min() - 3), x.max() + 4, y.max() + 4
    part = np.ascontiguousarray(line[top:bottom, left:right])
    cv2.polylines(part, [np.stack([x - left, y - top], 1).astype(np.int32)], True, (1,), 1)
    drawn = part > 0
    touching = np.count_nonzero(drawn & grown(hidden[top:bottom, left:right], _TOUCH))
    return replace(cell, state="cut") if touching > _TOUCHING * np.count_nonzero(drawn) else cell


def white_cell(
    whole: Part, nucleus: Part, fine: float, scale: float, shape: tuple[int, int], red_cell: float
) -> WhiteCell | None:
    """A cell from its masks; None where they enclose nothing.

    Args:
        whole: of the cell.
        nucleus: of the nucleus.
        fine: pixels of ``whole`` per pixel of ``nucleus``.
        scale: pixels of ``nucleus`` per pixel of the picture.
        shape: height and width of the picture.
        red_cell: diameter of a red cell in pixels of the picture, by which a swollen nucleus is told.
    """
    mask, left, top = whole
    zoom = 1 / (fine * scale)
    outline = _ring(mask, left, top, zoom, shape)
    inner, x, y = nucleus
    rings = _rings(inner, x, y, 1 / scale, shape)
    if outline is None or not rings:
        return None
    low, high = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    box = (int(low[0]), int(low[1]), int(max(1, high[0] - low[0])), int(max(1, high[1] - low[1])))
    area = float(cv2.contourArea(outline.astype(np.float32)))
    nucleus_area = float(np.count_nonzero(inner)) / scale**2
    hull = float(cv2.contourArea(cv2.convexHull(outline.astype(np.float32))))
    edge = max(2.0, zoom)
    cut = low[0] < edge or low[1] < edge or high[0] > shape[1] - edge or high[1] > shape[0] - edge
    state: State = "whole"
    if cut:
        state = "cut"
    elif area < _RAGGED * hull or (
        np.sqrt(4 * nucleus_area / np.pi) > _SWOLLEN * red_cell and nucleus_area > 0.9 * area
    ):
        state = "smudged"
    return WhiteCell(outline, rings, box, max(area, nucleus_area), nucleus_area, state)


def _ring(mask: Mask, left: int, top: int, zoom: float, shape: tuple[int, int]) -> Points | None:
    rings = _rings(mask, left, top, zoom, shape)
    return max(rings, key=lambda ring: float(cv2.contourArea(ring.astype(np.float32))), default=None)


def _rings(mask: Mask, left: int, top: int, zoom: float, shape: tuple[int, int]) -> tuple[Points, ...]:
    """Outer contours along the outer edges of pixels, in pixels of the picture."""
    tripled = cv2.resize(np.pad(mask, 1).view(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR_EXACT)
    soft = cv2.GaussianBlur(255 * tripled, (0, 0), 2.5)
    lines, _ = cv2.findContours((soft > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rings = []
    for line in lines:
        simple = cv2.approxPolyDP(line, 1.0, True)[:, 0].astype(np.float64)
        if len(simple) < 3:
            continue
        points = ((simple + 0.5) / 4 - 1 + (left, top)) * zoom
        rings.append(np.clip(points, 0, (shape[1], shape[0])))
    return tuple(rings)
