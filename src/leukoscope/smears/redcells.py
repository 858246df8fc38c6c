"""Red cells: circles that the edges of a field vote for, each then measured at its own edge.

Red cells in a smear overlap, touch and are pale in the middle, so that few stand alone; but most show a good part of a
round outline. Each edge pixel votes, at every radius tried, for the centre that its gradient points to (the circle
Hough transform with gradients: Duda & Hart 1972; Kimme, Ballard & Sklansky 1975, CACM 18). The votes at one place over
the circle's length are the share of it that is seen; the radius with the most is the cell's. Measuring each cell again
along rays from its centre was tried and agreed less with boxes drawn by hand: it follows the dents and neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask
from leukoscope.cells.stain import Floats, otsu_levels

STEP = 1.05  # between radii tried
_BLUR = 0.2  # of the radius: how far votes for one circle may lie apart; cells are not quite round
# A circle of radius 1 has at radius u the share exp(-(u - 1)^2 / (2 (blur u)^2)) / u, whose top is not at u = 1 but at:
_SHRINK = (np.sqrt(1 + 4 * _BLUR**2) - 1) / (2 * _BLUR**2)
_SEEN = 0.3  # of a circle's outline: the least that makes it a candidate
_APART = 0.6  # of a radius: centres nearer than this are one cell
_WEAK, _STRONG = 0.04, 0.10  # of the contrast between red cells and ground, per pixel: Canny's two levels
_MOST = 150  # candidates

Coordinates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RedCell:
    """One red cell, in pixels of the picture searched.

    Attributes:
        x: centre.
        y: centre.
        diameter: of the circle that the outline supports best.
        seen: share of that circle on which there is an outline, 0 to 1 and a little beyond.
    """

    x: float
    y: float
    diameter: float
    seen: float


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Edge pixels: places [N], unit vectors towards higher density [N], the picture's shape, and the contrast."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    inward_x: Floats
    inward_y: Floats
    shape: tuple[int, int]
    contrast: float


def find_edges(red: Floats, leave_out: Mask) -> Edges:
    """Canny's edges (1986, IEEE PAMI 8) of red density, with levels relative to the contrast of cells and ground.

    Args:
        red: float32 [H, W], `Density.red`, smoothed by about a pixel.
        leave_out: bool [H, W], white cells and platelets with their margins.
    """
    across = cv2.Sobel(red, cv2.CV_32F, 1, 0) / 8
    down = cv2.Sobel(red, cv2.CV_32F, 0, 1) / 8
    rest = red[~leave_out]
    (level,) = otsu_levels(rest) if rest.size else (0.0,)
    above, below = rest[rest > level], rest[rest <= level]
    contrast = float(np.median(above) - np.median(below)) if above.size and below.size else 0.0
    none = np.zeros(0, np.int64)
    if contrast <= 0:
        return Edges(none, none, none.astype(np.float32), none.astype(np.float32), red.shape[:2], 0.0)
    unit = 8000.0  # Canny takes 16-bit gradients
    scaled = [(np.clip(part / contrast, -4, 4) * unit).astype(np.int16) for part in (across, down)]
    edge = cv2.Canny(scaled[0], scaled[1], _WEAK * unit, _STRONG * unit, L2gradient=True) > 0
    edge &= ~leave_out
    edge[:3] = edge[-3:] = False
    edge[:, :3] = edge[:, -3:] = False
    y, x = np.nonzero(edge)
    length = np.maximum(np.hypot(across[edge], down[edge]), 1e-9)
    return Edges(
        x, y, np.asarray(across[edge] / length, np.float32), np.asarray(down[edge] / length, np.float32),
        (red.shape[0], red.shape[1]), contrast,
    )  # fmt: skip


def vote(edges: Edges, radii: Coordinates, least_spread: float) -> list[RedCell]:
    """Circles that the edges vote for, best first.

    Votes are spread over a share of the radius, so those of large circles are counted in bins of several pixels: the
    bins' own width is taken off the spread.

    Args:
        edges: from `find_edges`.
        radii: float64 [K], rising, in pixels.
        least_spread: of votes, in bins: how wide bins may be.
    """
    sigmas = np.maximum(_BLUR * radii, 0.8)
    bins = [2 ** max(0, int(np.log2(sigma / least_spread))) for sigma in sigmas]
    base = bins[0]
    height, width = (-(-side // base) for side in edges.shape)
    shares = np.empty((len(radii), height, width), np.float32)
    x, y = edges.x.astype(np.float32) + np.float32(0.5), edges.y.astype(np.float32) + np.float32(0.5)
    for index, (radius, sigma, side) in enumerate(zip(radii.tolist(), sigmas.tolist(), bins, strict=True)):
        rows, columns = -(-height * base // side), -(-width * base // side)
        column = np.floor((x + edges.inward_x * np.float32(radius)) / np.float32(side)).astype(np.int32)
        row = np.floor((y + edges.inward_y * np.float32(radius)) / np.float32(side)).astype(np.int32)
        inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
        votes = np.bincount(row[inside] * columns + column[inside], minlength=rows * columns)
        blur = float(np.sqrt((sigma / side) ** 2 - (1 - 1 / side**2) / 12))
        spread = cv2.GaussianBlur(votes.reshape(rows, columns).astype(np.float32), (0, 0), blur)
        spread *= (sigma / side) ** 2 / radius  # 2 pi sigma^2 over the length 2 pi r
        if side > base:
            zoom = side // base
            spread = cv2.resize(spread, (columns * zoom, rows * zoom), interpolation=cv2.INTER_LINEAR)
        shares[index] = spread[:height, :width]
    return _peaks(shares, radii, base)


def _peaks(shares: NDArray[np.float32], radii: Coordinates, side: int) -> list[RedCell]:
    """Tops of the shares over place and radius; ``side`` is that of a bin in pixels."""
    best, which = shares[0].copy(), np.zeros(shares.shape[1:], np.int16)
    for index, share in enumerate(shares[1:], 1):  # argmax along the first axis jumps through memory
        np.copyto(which, np.int16(index), where=share > best)
        np.maximum(best, share, out=best)
    width = best.shape[1]
    top = cv2.dilate(best, np.ones((3, 3), np.uint8))
    places = np.flatnonzero(((best >= top) & (best >= _SEEN)).ravel())
    places = places[np.argsort(-best.ravel()[places], kind="stable")]
    taken: list[RedCell] = []
    for place in places:
        row, column = divmod(int(place), width)
        x, y = (column + 0.5) * side, (row + 0.5) * side
        size = 2 * _between(shares[:, row, column], int(which[row, column]), radii) / _SHRINK
        if all((x - c.x) ** 2 + (y - c.y) ** 2 > (_APART / 2 * max(size, c.diameter)) ** 2 for c in taken):
            taken.append(RedCell(x, y, size, float(best[row, column])))
            if len(taken) == _MOST:
                break
    return taken


def _between(share: Floats, at: int, radii: Coordinates) -> float:
    """The radius of the top, by a parabola through it and its neighbours on the logarithmic scale of radii."""
    if not 0 < at < len(radii) - 1:
        return float(radii[at])
    left, middle, right = (float(value) for value in share[at - 1 : at + 2])
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(radii[at] * (radii[at + 1] / radii[at]) ** shift)
