"""The outline of a cell around its nucleus: the best closed curve, found at once by dynamic programming.

Seen from the middle of its nucleus a white cell is a star: every ray leaves it once. Where each ray leaves is sought
for all rays together, so that what lies within has the cell's colours, what lies beyond has those of the surroundings,
the curve runs along edges and bends little. In polar coordinates that is a shortest path (Amini, Weymouth & Jain 1990,
IEEE PAMI 12), without a graph to cut: many times faster than GrabCut on the same pixels. The colours are learned from
the picture: a curve gives two histograms, they give the next curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, components, filled, opened
from leukoscope.cells.stain import Floats

_RAYS, _STEPS = 128, 96  # rays, and places on each; rays a multiple of four: a cell turned by 90 degrees gives the same
_NEAR, _FAR = 1.3, 2.0  # of the nucleus' radius beyond its hull: probably the cell; surely not the cell
_LEAST_REACH = 0.16  # of the side: `_FAR` is at least this, for cells with small nuclei
_NECK = 0.05  # of the side: radius below which parts outside the nucleus are leaks
_ROUNDS = 4  # of curve and colours: more change little
_BINS, _SMOOTH = 48, 2.5  # of a histogram of colours along each of its two axes; width of its Gaussian in bins
_RARE = 1e-5  # share of pixels: a colour seen less often tells nothing
_SURE, _NEVER = 4.0, 50.0  # most that a colour says, as a logarithm of odds; what is surely outside
_NUCLEUS = 8.0  # likewise of the nucleus
_DOUBT = 0.2  # logarithm of odds: what has no colour of its own is outside
_AREA, _EDGE, _BEND, _TURN = 5.0, 2.25, 0.75, 1.0  # weights of colours, edges, and bends by their size and its square
_MOST_BEND = 3  # places between neighbouring rays
_LEAVES = 0.2  # of a place beyond its middle: where a ray leaves the last place that is the cell's
_SOLID = 0.95  # share of its hull: an outline that fills less may have taken in a red cell that it touches
_LIKE = 12.0  # squared Mahalanobis distance in Lab: what is nearer to the red cells' colour is probably a red cell
_GRAIN = 1 / 60  # of the side: narrower parts of that colour are granules or edges
_OUTSIDE = 0.02  # of such a part's area: at least this lies where no part of the cell does
_FAR_SHARE = 0.6  # of the crop's pixels: the rest is far from the nucleus, however large that is
_TRIM = 11.0  # squared distance: what is farther from the red cells' middle is another thing (99 % of three dimensions)
_LEAST_VARIANCE = 4.0  # of a Lab channel: a colour is not told more finely
_FEWEST = 0.04  # of the crop's pixels: fewer of red cells tell no colour
_MARGIN: Final = 60  # of the side: this part along the picture's edges is not the cell's


@dataclass(frozen=True, slots=True, eq=False)
class _Rays:
    """Places along the rays from the middle of a nucleus.

    Attributes:
        x: float32 [rays, places], column in the picture; may lie outside of it.
        y: row.
        step: pixels between two places.
        middle: x and y of where the rays start.
    """

    x: Floats
    y: Floats
    step: float
    middle: tuple[float, float]

    @classmethod
    def of(cls, hull: Mask, reach: float) -> _Rays:
        """From the middle of a hull, bool [H, W], to ``reach`` pixels beyond it."""
        moments = cv2.moments(hull.view(np.uint8), binaryImage=True)
        x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        rows, columns = np.nonzero(hull)
        step = max(1.0, (float(np.hypot(np.ptp(rows), np.ptp(columns))) / 2 + reach) / _STEPS)
        angle = np.arange(_RAYS)[:, None] * (2 * np.pi / _RAYS)
        away = (np.arange(_STEPS) + 0.5) * step
        across, down = x + np.cos(angle) * away, y + np.sin(angle) * away
        return cls(across.astype(np.float32), down.astype(np.float32), step, (x, y))

    def enclosed(self, last: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
        """What lies within a curve, bool [H, W]; ``last`` is the last place of each ray that is the cell's."""
        away = (last + 0.5 + _LEAVES) * self.step
        angle = np.arange(_RAYS) * (2 * np.pi / _RAYS)
        corners = np.stack([self.middle[0] + np.cos(angle) * away, self.middle[1] + np.sin(angle) * away], 1)
        drawn = np.zeros(shape[:2], np.uint8)
        cv2.fillPoly(drawn, [np.rint(16 * corners).astype(np.int32)], (1,), shift=4)
        return drawn.view(np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """What is known of the surroundings of one nucleus before its cell is sought, all arrays of one picture."""

    lab: NDArray[np.uint8]
    nucleus: Mask
    hull: Mask
    away: Floats  # distance from the hull, pixels
    radius: float
    reach: float  # nothing farther is the cell
    outside: Mask  # surely not the cell


def outline_around(rgb: NDArray[np.uint8], nucleus: Mask, red: Mask, barred: Mask | None = None) -> Mask:
    """The cell around a nucleus.

    An outline with bulges is sought once more, starting with what looks like the picture's red cells outside of it, and
    the more solid one holds: a red cell that touches the white one bulges.

    Args:
        rgb: uint8 [H, W, 3], the nucleus and its surroundings.
        nucleus: bool [H, W], not empty.
        red: bool [H, W], stained less than nuclei and more than the ground.
        barred: bool [H, W], what is surely not this cell's: other cells, what shows no smear; None: nothing is known.

    Returns:
        bool [H, W], one part without holes.
    """
    side = min(rgb.shape[:2])
    known = _around(rgb, nucleus, barred)
    probably = (known.away < _NEAR * known.radius) & ~known.outside
    first = _grown(known, probably, side)
    if solidity(first) >= _SOLID:
        return first
    touching = _red_cells(known, red, side) & probably & ~known.hull
    if not touching.any():
        return first
    return max(first, _grown(known, probably & ~touching, side), key=solidity)


def solidity(mask: Mask) -> float:
    """Share of its convex hull that the largest part of a mask fills; white cells fill nearly all of it.

    >>> solidity(np.ones((9, 9), np.bool_))
    1.0
    """
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring = max(rings, key=cv2.contourArea)
    return float(cv2.contourArea(ring)) / max(1.0, float(cv2.contourArea(cv2.convexHull(ring))))


def _around(rgb: NDArray[np.uint8], nucleus: Mask, barred: Mask | None) -> _Around:
    side = min(rgb.shape[:2])
    rows, columns = np.nonzero(nucleus)
    drawn = np.zeros(nucleus.shape, np.uint8)
    cv2.fillConvexPoly(drawn, cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32)), (1,))
    radius = float(np.sqrt(drawn.sum() / np.pi))
    away = np.asarray(cv2.distanceTransform(1 - drawn, cv2.DIST_L2, 5), np.float32)
    reach = max(_FAR * radius, _LEAST_REACH * side)
    outside = np.asarray(away > reach)
    margin = max(1, side // _MARGIN)
    for edge in (np.s_[:margin], np.s_[-margin:], np.s_[:, :margin], np.s_[:, -margin:]):
        outside[edge] = True
    if barred is not None:
        outside |= barred
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), side / 200), cv2.COLOR_RGB2LAB), np.uint8)
    return _Around(lab, nucleus, drawn.view(np.bool_), away, radius, reach, outside & ~nucleus)


def _grown(known: _Around, probably: Mask, side: int) -> Mask:
    """The cell that curves and colours make of a first belief, without leaks."""
    rays = _Rays.of(known.hull, known.reach)
    height, width = known.nucleus.shape
    columns = np.clip(np.rint(rays.x).astype(np.int64), 0, width - 1)
    rows = np.clip(np.rint(rays.y).astype(np.int64), 0, height - 1)
    beyond = (rays.x < 0) | (rays.y < 0) | (rays.x > width - 1) | (rays.y > height - 1)
    never = np.asarray(known.outside[rows, columns] | beyond)
    nucleus = np.asarray(known.nucleus[rows, columns] & ~beyond)
    codes = _colour_codes(known.lab)
    on_rays = codes[rows, columns]
    ring = _AREA * rays.step**2 * (np.arange(_STEPS) + 0.5) / known.radius**2  # of colours, at each place of a ray
    edges = _EDGE * _edges(known.lab, rays)
    cell = np.asarray(probably | known.nucleus)
    for _ in range(_ROUNDS):
        odds = _odds(codes, cell)[on_rays] - _DOUBT
        odds[never], odds[nucleus] = -_NEVER, _NUCLEUS
        gain = np.asarray(np.cumsum(odds * ring, axis=1) + edges, np.float32)
        again = rays.enclosed(_best_curve(gain), known.nucleus.shape) | known.nucleus
        if np.array_equal(again, cell):
            break
        cell = again
    smooth = opened(filled(cell), _NECK * side) | known.nucleus
    parts, _ = components(smooth)
    kept = np.unique(parts[known.nucleus])
    counts = np.bincount(parts.ravel())
    return filled(np.asarray(parts == kept[int(np.argmax(counts[kept]))]))


def _colour_codes(lab: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Bin of each pixel's colour along the two directions in which the picture's colours vary most, int32 [H, W]."""
    colours = lab.reshape(-1, 3).astype(np.float32)
    colours -= colours.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov(colours[::3].T))
    places = colours @ directions[:, :0:-1].astype(np.float32)
    low, high = np.quantile(places[::3], (0.002, 0.998), axis=0)
    bins = np.clip((places - low) * (_BINS / (high - low + 1e-6)), 0, _BINS - 1).astype(np.int32)
    return np.asarray((bins[:, 0] * _BINS + bins[:, 1]).reshape(lab.shape[:2]), np.int32)


def _odds(codes: NDArray[np.int32], cell: Mask) -> Floats:
    """Logarithm of how much commoner each colour is within the cell than outside, float32 [_BINS ** 2]."""
    shares = []
    every = np.bincount(codes.ravel(), minlength=_BINS**2)
    inside = np.bincount(codes[cell], minlength=_BINS**2)
    for counts in (inside, every - inside):
        table = counts.reshape(_BINS, _BINS).astype(np.float32)
        soft = cv2.GaussianBlur(table, (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT).ravel()
        shares.append(soft / max(float(soft.sum()), 1.0) + _RARE)
    return np.asarray(np.clip(np.log(shares[0] / shares[1]), -_SURE, _SURE), np.float32)


def _edges(lab: NDArray[np.uint8], rays: _Rays) -> Floats:
    """How strongly the colour changes along each ray, as a share of its strongest changes, float32 [rays, places]."""
    seen = cv2.remap(lab.astype(np.float32), rays.x, rays.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    change = np.zeros(rays.x.shape, np.float32)
    change[:, 1:-1] = np.sqrt(((seen[:, 2:] - seen[:, :-2]) ** 2).sum(axis=2))
    return np.asarray(np.minimum(change / (float(np.quantile(change, 0.95)) + 1e-3), 1.5), np.float32)


def _best_curve(gain: Floats) -> NDArray[np.int64]:
    """The place on each ray, int64 [rays], that the closed curve of the largest sum runs through.

    Bends are taken off the sum. The path is sought twice around and its middle is kept, where both ends are forgotten.
    """
    rays, places = gain.shape
    bends = np.arange(-_MOST_BEND, _MOST_BEND + 1)
    price = (_BEND * np.abs(bends) + _TURN * bends**2).astype(np.float32)
    came = np.empty((2 * rays, places), np.int64)
    wide = np.full(places + 2 * _MOST_BEND, -np.inf, np.float32)
    score = np.ascontiguousarray(gain[0])
    near = np.lib.stride_tricks.sliding_window_view(wide, len(bends))
    own = np.arange(places)
    for ray in range(1, 2 * rays):
        wide[_MOST_BEND:-_MOST_BEND] = score
        options = near - price
        best = options.argmax(axis=1)
        came[ray] = own + best - _MOST_BEND
        score = options[own, best] + gain[ray % rays]
    path = np.empty(2 * rays, np.int64)
    path[-1] = int(score.argmax())
    for ray in range(2 * rays - 1, 0, -1):
        path[ray - 1] = came[ray, path[ray]]
    half = rays // 2
    return np.roll(path[half : half + rays], half)


def _red_cells(known: _Around, red: Mask, side: int) -> Mask:
    """What has the colour of the red cells far from the nucleus and goes on beyond the cell, bool [H, W].

    A red cell that touches the white one would otherwise teach the cell its colour. The colour is a normal distribution
    fitted without its outliers: neighbours, platelets, edges.
    """
    lab, away, radius = known.lab, known.away, known.radius
    edge = float(np.quantile(away, _FAR_SHARE))
    some = lab[red & (away > min(_FAR * radius, edge))].astype(np.float64)
    if len(some) < _FEWEST * red.size:
        return np.zeros_like(red)
    middle, kept = np.median(some, axis=0), some
    for _ in range(3):
        inverse = np.asarray(np.linalg.inv(np.cov(kept.T) + _LEAST_VARIANCE * np.eye(3)), np.float64)
        kept = some[_squared(some - middle, inverse) < _TRIM]
        if len(kept) < 50:
            return np.zeros_like(red)
        middle = kept.mean(axis=0)
    like = (_squared(lab.reshape(-1, 3) - middle, inverse) < _LIKE).reshape(red.shape)
    parts, areas = components(opened(np.asarray(like), _GRAIN * side))
    far = np.bincount(parts.ravel(), (away > min(radius, edge)).ravel(), len(areas))
    return np.asarray(((far > _OUTSIDE * areas) & (areas > 0))[parts])


def _squared(vectors: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Mahalanobis lengths [N] of vectors [N, 3]."""
    return np.asarray(((vectors @ inverse) * vectors).sum(axis=1), np.float64)
