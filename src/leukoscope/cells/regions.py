"""What is done to masks: discs, components, holes; each the same for a mask turned by 90 degrees or mirrored."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_SMALL = 8  # pixels: up to this radius trying every pixel of the disc is faster than a distance transform


def disc(radius: float) -> NDArray[np.uint8]:
    """A disc as a structuring element, uint8 [2 r + 1, 2 r + 1], r the radius rounded and at least 1.

    >>> disc(1).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    r = _pixels(radius)
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return np.asarray(x**2 + y**2 <= r**2, np.uint8)


def eroded(mask: Mask, radius: float) -> Mask:
    """Where a `disc` of this radius fits into the mask; beyond the array's edge nothing is set."""
    if _pixels(radius) <= _SMALL:
        found = cv2.erode(_bytes(mask), disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
        return np.asarray(found).view(np.bool_)
    wide = np.pad(mask, 1).view(np.uint8)
    # Farther than r from everything outside is the erosion by a disc, whose cost does not grow with r.
    return np.asarray(cv2.distanceTransform(wide, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] > _reach(radius))


def grown(mask: Mask, radius: float) -> Mask:
    """Everything within this radius of the mask."""
    if _pixels(radius) <= _SMALL:
        found = cv2.dilate(_bytes(mask), disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
        return np.asarray(found).view(np.bool_)
    if not mask.any():
        return mask.copy()
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= _reach(radius))


def opened(mask: Mask, radius: float) -> Mask:
    """The mask without parts too narrow for a disc of this radius."""
    return grown(eroded(mask, radius), radius)


def closed(mask: Mask, radius: float) -> Mask:
    """The mask with gaps too narrow for a disc of this radius filled."""
    margin = _pixels(radius) + 1
    wide = grown(np.pad(mask, margin), radius)
    return np.ascontiguousarray(eroded(wide, radius)[margin:-margin, margin:-margin])


def components(mask: Mask, connectivity: int = 8) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels int32 [H, W], 0 outside, and areas int64 [count + 1] in pixels, that of the outside set to 0."""
    _count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    return np.asarray(labels, np.int32), areas


def filled(mask: Mask, largest: float = np.inf) -> Mask:
    """The mask with its holes of up to ``largest`` pixels closed."""
    frame = np.pad(~mask, 1, constant_values=True)
    labels, areas = components(frame, connectivity=4)
    hole = areas <= largest
    hole[[0, labels[0, 0]]] = False
    return np.asarray(mask | hole[labels[1:-1, 1:-1]])


def _bytes(mask: Mask) -> NDArray[np.uint8]:
    return np.ascontiguousarray(mask).view(np.uint8)


def _pixels(radius: float) -> int:
    return max(1, round(radius))


def _reach(radius: float) -> float:
    # Squared distances are whole numbers: half a unit beyond r^2 keeps what OpenCV rounds away from both sides.
    return float(np.sqrt(_pixels(radius) ** 2 + 0.5))
