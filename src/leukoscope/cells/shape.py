"""Size and form of a mask in numbers that are right for discs and do not change when it is turned or mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask, enclosed, longest_run, outlines


@dataclass(frozen=True, slots=True)
class Shape:
    """Form of one region.

    Attributes:
        area: pixels.
        diameter: of the disc with this area, in pixels: ``sqrt(4 area / pi)``.
        perimeter: pixels, see `perimeter`.
        roundness: ``4 pi area / perimeter^2``: 1 for a disc, less for anything else (Cox 1927, "A method of assigning
            numerical and percentage values to the degree of roundness of sand grains"); digitisation may add 0.02.
        elongation: ratio of the axes of the ellipse with the same second moments, 1 or more.
        solidity: area over that of the convex hull, 0 to 1.
        irregularity: root mean square distance of the outline from that ellipse, as a share of the radius; 0 for an
            ellipse.
        straight_edge: longest straight run of the outline along a side of the bounding box, over the diameter: a cell
            that was cut off at the edge of its picture has a long one.
    """

    area: int
    diameter: float
    perimeter: float
    roundness: float
    elongation: float
    solidity: float
    irregularity: float
    straight_edge: float


def shape(mask: Mask) -> Shape:
    """Measure the form of a mask's largest component.

    Args:
        mask: bool [H, W], at least one pixel set.

    Raises:
        ValueError: the mask is empty.
    """
    parts = outlines(mask).parts
    if not parts:
        raise ValueError("an empty mask has no shape")
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    outline = parts[0] if len(parts) == 1 else max(parts, key=enclosed)
    area = int(np.count_nonzero(mask))
    around = perimeter(mask)
    diameter = math.sqrt(4 * area / math.pi)
    elongation, irregularity = _against_ellipse(outline)
    straight = _straight_run(mask[top : top + height, left : left + width])
    return Shape(
        area, diameter, around, 4 * math.pi * area / around**2, elongation, _solidity(outline), irregularity,
        straight / diameter,
    )  # fmt: skip


def perimeter(mask: Mask) -> float:
    """Length of the boundary in pixels by Crofton's formula with lines in four directions.

    A line in direction k, at spacing d_k (1 along the axes, 1/sqrt 2 along the diagonals), crosses the boundary N_k
    times over all lines; the length is ``pi / 8 * sum(d_k N_k)`` (Lehmann & Legland 2012, "Efficient N-dimensional
    surface estimation using Crofton formula and run-length encoding", Insight Journal). It has no bias for discs,
    while counting boundary pixels is short by a tenth and counting their edges long by 4 / pi.

    Args:
        mask: bool [H, W].

    >>> y, x = np.mgrid[-40:41, -40:41]
    >>> round(perimeter(np.asarray(x**2 + y**2 <= 30**2)) / (2 * np.pi * 30), 1)
    1.0
    """
    wide = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    wide[1:-1, 1:-1] = mask
    straight = np.count_nonzero(wide[1:] != wide[:-1]) + np.count_nonzero(wide[:, 1:] != wide[:, :-1])
    diagonal = np.count_nonzero(wide[1:, 1:] != wide[:-1, :-1]) + np.count_nonzero(wide[1:, :-1] != wide[:-1, 1:])
    return math.pi / 8 * float(straight + diagonal / math.sqrt(2))


def _solidity(outline: NDArray[np.int32]) -> float:
    """Both areas are those of polygons through the centres of the boundary's pixels, so that a disc has 1, nearly."""
    hull = cv2.contourArea(cv2.convexHull(outline))
    return min(1.0, cv2.contourArea(outline) / hull) if hull > 0 else 1.0


def _against_ellipse(outline: NDArray[np.int32]) -> tuple[float, float]:
    """Elongation, and how far the outline lies from the ellipse of the same second moments.

    Both are those of the polygon through the centres of the boundary's pixels.
    """
    sums = cv2.moments(outline)
    area = sums["m00"]
    if area <= 0:  # a line of pixels
        return math.inf, 0.0
    across, down, cross = (sums[name] / area for name in ("mu20", "mu02", "mu11"))
    half, apart = (across + down) / 2, math.hypot((across - down) / 2, cross)
    x = outline[:, 0, 0] - sums["m10"] / area
    y = outline[:, 0, 1] - sums["m01"] / area
    # An ellipse of semi-axes a, b has moments a^2 / 4, b^2 / 4, so this is 1 on it.
    determinant = across * down - cross * cross
    away = np.sqrt((down * x * x - 2 * cross * x * y + across * y * y) / determinant) / 2 - 1
    return math.sqrt((half + apart) / (half - apart)), math.sqrt(float(away @ away) / len(away))


def _straight_run(part: Mask) -> int:
    """Longest run of set pixels in the first or last row or column of a mask cropped to its bounding box."""
    end = np.zeros(1, np.bool_)
    return longest_run(np.concatenate([part[0], end, part[-1], end, part[:, 0], end, part[:, -1]]))
