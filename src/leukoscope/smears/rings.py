"""Contours as other programs take them: closed without touching themselves, one way round."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

DIGITS: Final = 1  # of a pixel: what contours are written with
_TENTHS: Final = 10**DIGITS
_MARGIN = 4  # tenths of a pixel

Points = NDArray[np.float64]


def valid_ring(points: Points) -> Points:
    """The ring rounded to tenths of a pixel, simple, with its area on the left (RFC 7946's right-hand rule).

    A ring that touches or crosses itself is drawn, thinned where it is too narrow, and its largest part kept.

    Args:
        points: float64 [N, 2], x and y, not closed.

    Returns:
        float64 [M, 2], M at least 3, not closed; the convex hull where nothing else is simple.

    >>> valid_ring(np.array([[0, 0], [0, 4.0], [4, 4], [4, 0]])).tolist()
    [[4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [0.0, 0.0]]
    """
    ring = _merged(np.rint(np.asarray(points) * _TENTHS).astype(np.int64))
    if not is_simple(ring):
        ring = _redrawn(ring)
    if _doubled_area(ring) < 0:
        ring = ring[::-1]
    return np.asarray(ring / _TENTHS, np.float64)


def is_simple(ring: NDArray[np.int64]) -> bool:
    """Whether a ring of whole numbers, int64 [N, 2], not closed, encloses something and meets itself nowhere."""
    count = len(ring)
    if count < 3 or not _doubled_area(ring):
        return False
    start, end = ring, np.roll(ring, -1, axis=0)
    if not np.any(start != end, axis=1).all():
        return False
    i, j = np.triu_indices(count, 2)
    apart = ~((i == 0) & (j == count - 1))
    if _meet(start[i[apart]], end[i[apart]], start[j[apart]], end[j[apart]]).any():
        return False
    # Neighbours share one point; they must not run back over each other.
    following = np.roll(end, -1, axis=0)
    one, other = end - start, following - end
    return not bool(((_cross(one, other) == 0) & ((one * other).sum(axis=1) < 0)).any())


def _meet(a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64], d: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether segments a b and c d, int64 [K, 2] each, have a point in common; exact."""
    sides = [np.sign(_cross(q - p, r - p)) for p, q, r in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))]
    boxes = (np.maximum(np.minimum(a, b), np.minimum(c, d)) <= np.minimum(np.maximum(a, b), np.maximum(c, d))).all(
        axis=1
    )
    return np.asarray(boxes & (sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0))


def _cross(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _doubled_area(ring: NDArray[np.int64]) -> int:
    return int(_cross(ring, np.roll(ring, -1, axis=0)).sum())


def _merged(ring: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without points that repeat the one before."""
    kept = np.any(ring != np.roll(ring, 1, axis=0), axis=1)
    return np.asarray(ring[kept] if kept.any() else ring[:1], np.int64)


def _redrawn(ring: NDArray[np.int64]) -> NDArray[np.int64]:
    low = ring.min(axis=0) - _MARGIN
    width, height = (ring.max(axis=0) - low + _MARGIN + 1).tolist()
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [(ring - low).astype(np.int32)], (1,))
    for radius in (1, 2, 4, 8):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        thin = cv2.morphologyEx(canvas, cv2.MORPH_OPEN, disc)
        lines, _ = cv2.findContours(thin, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        line = max(lines, key=cv2.contourArea, default=None)
        for slack in () if line is None else (3.0, 1.5, 1.0):
            found = cv2.approxPolyDP(np.asarray(line), slack, True)[:, 0].astype(np.int64) + low
            if is_simple(found):
                return np.asarray(found, np.int64)
    hull = cv2.convexHull(ring.astype(np.int32))[:, 0].astype(np.int64)
    if is_simple(hull):
        return np.asarray(hull, np.int64)
    x, y = ring[0]  # nothing is enclosed: the smallest square that can be written
    return np.array([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]], np.int64)
