"""What the picture of a cell is fit for, in numbers: sharpness, exposure, stain, size, outline, and what else it shows.

Lengths are shares of the cell's own equivalent diameter D, so that the same cell at another resolution measures alike.
Nothing is judged here: the limits are fitted on training cells and live in the bundle (`leukoscope.bundle.gate`).

What the outline of a cell and the rest of its picture say: cut off, not alone, two in one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.cutout import Cutout, brightest, cutout_of_frame
from leukoscope.cells.frame import NEAR_BLACK
from leukoscope.cells.masks import Mask, longest_run
from leukoscope.cells.stain import stain_statistics

THINNED_SIDE = 200  # pixels: other objects are looked for in the picture thinned to about this
_CORNERS = np.array([[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]], np.int32)


def hull_area(mask: Mask) -> float:
    """Area in pixels of the convex hull of a mask, the pixels taken as squares; at least the mask's own.

    >>> hull_area(np.ones((4, 6), bool))
    24.0
    """
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = cv2.convexHull(np.concatenate(outlines))  # of upper left corners: the others follow
    return float(cv2.contourArea(cv2.convexHull(np.concatenate([corners + each for each in _CORNERS]))))


def second_body(depth: NDArray[np.float32]) -> float:
    """How large a second disc finds room in a cell beside its largest one: 0 for a disc, 1 for two alike that touch.

    Args:
        depth: float32 [H, W], distance of each pixel of the cell to the nearest pixel outside, 0 outside.

    Returns:
        Ratio of the radii, 0 to 1.
    """
    small = depth[::2, ::2]  # a position to two pixels is fine enough: radii are tens of pixels
    down, across = np.unravel_index(int(small.argmax()), small.shape)
    largest = float(small[down, across])
    if largest <= 0:
        return 0.0
    y, x = np.ogrid[: small.shape[0], : small.shape[1]]
    away = 2 * np.sqrt(((y - down) ** 2 + (x - across) ** 2).astype(np.float32))
    return float(np.where(away >= largest + small, small, 0).max()) / largest


def surroundings(rgb: NDArray[np.uint8]) -> tuple[float, int]:
    """What the picture shows beside its largest object, and how far that object runs along the picture's edge.

    Args:
        rgb: one cell on a black surround, uint8 [H, W, 3].

    Returns:
        Area of the second largest object over that of the largest, 0 to 1; and the longest run of pixels above
        near-black on a side of the picture that the largest object reaches, in pixels.
    """
    step = max(1, min(rgb.shape[:2]) // THINNED_SIDE)
    height, width = (max(1, side // step) for side in rgb.shape[:2])
    thin = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    second, (left, top, width, height) = _second_object(_above(thin).view(np.uint8))
    if not width:
        return 0.0, 0
    reached = {
        0: top == 0,
        1: top + height == thin.shape[0],
        2: left == 0,
        3: left + width == thin.shape[1],
    }
    sides = (rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1])
    runs = [longest_run(_above(side[None])[0]) for number, side in enumerate(sides) if reached[number]]
    return second, max(runs, default=0)


def _second_object(lit: NDArray[np.uint8]) -> tuple[float, tuple[int, int, int, int]]:
    """Area of the second largest object over that of the largest; bounding box of the largest, 0 wide without any."""
    outlines, parents = cv2.findContours(lit, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not len(outlines):
        return 0.0, (0, 0, 0, 0)
    if np.count_nonzero(parents[0, :, 3] < 0) == 1:  # one object: labelling would take three times as long
        left, top, width, height = cv2.boundingRect(lit)
        return 0.0, (left, top, width, height)
    _, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(lit, 8, cv2.CV_32S, cv2.CCL_GRANA)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = int(areas.argmax())
    left, top, width, height, _ = (int(value) for value in stats[1 + largest])
    return float(np.sort(areas)[-2] / areas[largest]), (left, top, width, height)


def _above(rgb: NDArray[np.uint8]) -> Mask:
    """Where any channel exceeds near-black."""
    return np.asarray(brightest(np.ascontiguousarray(rgb)) > NEAR_BLACK)


#: What is measured and its unit, in the order of all lists.
MEASURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "diameter": "px",
        "solidity": "1",
        "straight_edge": "1",
        "on_border": "1",
        "second_object": "1",
        "second_body": "1",
        "sharpness": "octave",
        "contrast": "level",
        "brightness": "level",
        "clipped": "1",
        "nuclear_stain": "OD",
    }
)

FINE = 0.005  # of D: width of the Gaussian below which detail is fine; one pixel in C-NMC 2019
RIM = 0.06  # of D: what lies nearer to the outline shows the cut, not the cell
CLIPPED = 250  # level that a channel must reach to count as clipped
_LEAST_PIXELS = 50  # of the inside: below, the whole cell is measured
ROUNDING = 0.09  # variance of fine detail that rounding of three channels and of the grey level leaves
_LEAST_DETAIL = 0.05  # levels: less cannot be told from none in a picture of 8 bits


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Measurements of one picture.

    Attributes:
        values: by the names of `MEASURES`, in their order, all finite.
        stain: float64 [9], from `stain_statistics`.
        side: longer side of the picture, pixels; None where the scale is known otherwise, so that it tells nothing.
    """

    values: Mapping[str, float]
    stain: NDArray[np.float64]
    side: int | None = None


def measure_quality(rgb: NDArray[np.uint8], frame: NDArray[np.uint8], cut: Cutout | None = None) -> Quality:
    """Measure the picture of one cell.

    | measure | what it is |
    |---|---|
    | `diameter` | of the disc with the cell's area |
    | `solidity` | the cell's area over that of its convex hull |
    | `straight_edge` | longest straight run of the outline along a side of its bounding box, over D |
    | `on_border` | longest run of the cell along the edge of the picture or of the frame, over D |
    | `second_object` | area of the second largest object in the picture over that of the largest |
    | `second_body` | radius of the largest disc in the cell beside its largest disc, over the radius of that |
    | `sharpness` | log2 of fine detail over the contrast inside the cell, see `sharpness` |
    | `contrast` | 95 % less 5 % quantile of the grey level inside the cell |
    | `brightness` | median grey level inside the cell |
    | `clipped` | share of the cell's pixels with a channel at `CLIPPED` or above |
    | `nuclear_stain` | 90 % quantile of the optical density in green, which chromatin absorbs most |

    Args:
        rgb: the picture as decoded, uint8 [H, W, 3].
        frame: its cell as `cells.frame.frame_cell` gives it, before any CLAHE, uint8 [F, F, 3].
        cut: the cell of that frame, where it was found already.

    Raises:
        ValueError: the frame holds no cell.
    """
    found = cutout_of_frame(frame) if cut is None else cut
    inner, cell = found.rgb, found.mask
    height, width = cell.shape
    area = int(np.count_nonzero(cell))
    size = math.sqrt(4 * area / math.pi)
    wide = cv2.copyMakeBorder(cell.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    depth = np.asarray(cv2.distanceTransform(wide, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1], np.float32)
    inside = np.asarray(depth > RIM * size)
    if np.count_nonzero(inside) < _LEAST_PIXELS:
        inside = cell
    grey = np.asarray(cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY), np.uint8)
    levels = cv2.calcHist([grey], [0], inside.view(np.uint8), [256], [0, 256]).ravel().astype(np.float64)
    low, middle, high = _quantiles(levels, (0.05, 0.5, 0.95))
    stain, nuclear = stain_statistics(_thinned(inner, inside))
    ends = np.zeros(1, np.bool_)
    straight = longest_run(np.concatenate([cell[0], ends, cell[-1], ends, cell[:, 0], ends, cell[:, -1]]))
    second, border = surroundings(rgb)
    if max(width, height) >= min(frame.shape[:2]):  # larger than the frame: its edge has cut the cell
        border = max(border, straight)
    values = {
        "diameter": size,
        "solidity": area / max(hull_area(cell), area),
        "straight_edge": straight / size,
        "on_border": border / size,
        "second_object": second,
        "second_body": second_body(depth),
        "sharpness": sharpness(grey.astype(np.float32), inside, size, spread=_spread(levels)),
        "contrast": high - low,
        "brightness": middle,
        "clipped": _clipped(inner) / area,
        "nuclear_stain": nuclear,
    }
    return Quality(values, stain, max(rgb.shape[:2]))


def sharpness(grey: NDArray[np.float32], inside: Mask, size: float, *, spread: float | None = None) -> float:
    """How much fine detail a cell shows against all of its contrast, in octaves.

    ``log2(sd(g - g1) / sd(g))`` over the inside, with g the grey levels and g1 the same under a Gaussian of `FINE`
    times the diameter; the variance that rounding to 8 bits leaves in the numerator is taken off. Focus takes the
    numerator (a Laplacian of Gaussian, as in the sharpness measures compared by Pertuz, Puig & Garcia 2013, Pattern
    Recognition 46, 1415-1432) long before the denominator; stain and exposure scale both alike and fall out. Noise
    raises it.

    Args:
        grey: float32 [H, W], whole levels.
        inside: bool [H, W], where to look; far enough from the outline that the surround stays out.
        size: diameter of the cell in pixels.
        spread: standard deviation of the grey levels inside, where it is known already.
    """
    width = max(FINE * size, 0.3)
    detail = (grey - cv2.GaussianBlur(grey, (0, 0), width, borderType=cv2.BORDER_REPLICATE))[inside]
    fine = float(np.dot(detail, detail)) / detail.size - float(detail.mean()) ** 2 - ROUNDING
    whole = float(grey[inside].std()) if spread is None else spread
    return math.log2(math.sqrt(max(fine, _LEAST_DETAIL**2)) / max(whole, _LEAST_DETAIL))


def _clipped(frame: NDArray[np.uint8]) -> int:
    """Number of pixels with a channel at `CLIPPED` or above."""
    if cv2.minMaxLoc(frame.reshape(len(frame), -1))[1] < CLIPPED:
        return 0
    below = cv2.inRange(frame, np.zeros(3, np.uint8), np.full(3, CLIPPED - 1, np.uint8))
    return below.size - cv2.countNonZero(below)


def _thinned(rgb: NDArray[np.uint8], inside: Mask) -> NDArray[np.uint8]:
    """Every second pixel of every second row that lies inside, uint8 [N, 3]; every pixel where there is none."""
    whole = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)).view(np.uint32)[..., 0]  # one number is picked at once
    chosen = whole[::2, ::2][inside[::2, ::2]]
    if not len(chosen):
        chosen = whole[inside]
    return chosen.view(np.uint8).reshape(-1, 4)[:, :3]


def _quantiles(counts: NDArray[np.float64], at: tuple[float, ...]) -> list[float]:
    """Order statistics of levels, from how often each occurs."""
    summed = np.cumsum(counts)
    return [float(np.searchsorted(summed, share * summed[-1])) for share in at]


def _spread(counts: NDArray[np.float64]) -> float:
    """Standard deviation of levels, from how often each occurs."""
    levels = np.arange(len(counts)) - float(counts @ np.arange(len(counts))) / counts.sum()
    return math.sqrt(float(counts @ levels**2) / counts.sum())
