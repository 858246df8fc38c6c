"""What the outline of a cell and the rest of its picture say: cut off, not alone, two in one."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.cutout import brightest
from leukoscope.cells.frame import NEAR_BLACK
from leukoscope.cells.regions import Mask, longest_run

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
