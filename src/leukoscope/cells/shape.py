"""Size and form of a mask in numbers that are right for discs and do not change when it is turned or mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask


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
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        raise ValueError("an empty mask has no shape")
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = mask[top : top + height, left : left + width]
    outline = max(outlines, key=cv2.contourArea)[:, 0, :].astype(np.float64)
    area = int(np.count_nonzero(part))
    around = perimeter(part)
    diameter = math.sqrt(4 * area / math.pi)
    elongation, irregularity = _against_ellipse(part, outline - (left, top))
    return Shape(
        area, diameter, around, 4 * math.pi * area / around**2, elongation, _solidity(outline), irregularity,
        _straight_run(part) / diameter,
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
    wide = np.pad(mask, 1)
    straight = np.count_nonzero(wide[1:] != wide[:-1]) + np.count_nonzero(wide[:, 1:] != wide[:, :-1])
    diagonal = np.count_nonzero(wide[1:, 1:] != wide[:-1, :-1]) + np.count_nonzero(wide[1:, :-1] != wide[:-1, 1:])
    return math.pi / 8 * float(straight + diagonal / math.sqrt(2))


def _solidity(outline: NDArray[np.float64]) -> float:
    """Both areas are those of polygons through the centres of the boundary's pixels, so that a disc has 1, nearly."""
    points = outline.astype(np.float32)
    hull = cv2.contourArea(cv2.convexHull(points))
    return min(1.0, float(cv2.contourArea(points) / hull)) if hull > 0 else 1.0


def _against_ellipse(mask: Mask, outline: NDArray[np.float64]) -> tuple[float, float]:
    """Elongation, and how far the outline lies from the ellipse of the same second moments."""
    y, x = (axis.astype(np.float64) for axis in np.nonzero(mask))
    centre = np.array([x.mean(), y.mean()])
    x, y = x - centre[0], y - centre[1]
    cross = float((x * y).mean())
    moments = np.array([[(x * x).mean() + 1 / 12, cross], [cross, (y * y).mean() + 1 / 12]])  # 1/12: a pixel's own
    small, large = np.linalg.eigvalsh(moments)
    away = outline - centre
    # An ellipse of semi-axes a, b has moments a^2 / 4, b^2 / 4, so this is 1 on it; the outline through the centres
    # of pixels lies half a pixel inside.
    reach = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(moments), away)) / 2
    reach *= 1 + 0.5 / math.sqrt(mask.sum() / math.pi)
    return math.sqrt(large / small), float(np.sqrt(np.mean((reach - 1) ** 2)))


def _straight_run(part: Mask) -> int:
    """Longest run of set pixels in the first or last row or column of a mask cropped to its bounding box."""
    longest = 0
    for side in (part[0], part[-1], part[:, 0], part[:, -1]):
        steps = np.flatnonzero(np.diff(np.concatenate([[False], side, [False]]).astype(np.int8)))
        longest = max(longest, int((steps[1::2] - steps[::2]).max()))
    return longest
