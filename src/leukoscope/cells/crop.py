"""Finding one white cell in the middle of a small crop that shows its surroundings: plasma, red cells, neighbours.

For crops of about one cell's size and a half, as cut out by hand or by a detector. Whole smear fields are not covered.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, closed, components
from leukoscope.cells.outline import outline_around
from leukoscope.cells.segment import Segmentation, segment
from leukoscope.cells.stain import nuclear_stain, otsu_levels
from leukoscope.errors import PictureError

WORKING_SIDE = 300  # pixels: the outline is sought on the crop reduced to this; smaller ones lose pale cytoplasm
MIN_CROP_SIDE = 48  # pixels: below, a cell has too few pixels for lobes and rims
_CENTRE = 0.25  # of the side: width of the Gaussian that says how central a pixel is


def segment_crop(rgb: NDArray[np.uint8]) -> Segmentation:
    """Outline, nucleus and cytoplasm of the white cell in the middle of a crop.

    The darkest of three classes of the nuclear stain (Otsu) that lies nearest the middle is the nucleus to start from;
    `outline_around` finds the cell around it; `segment` then divides what was found.

    Args:
        rgb: uint8 RGB [H, W, 3], the cell near its middle.

    Raises:
        PictureError: the crop is too small, or holds nothing that stains as a nucleus.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_CROP_SIDE:
        raise PictureError(
            f"a crop of {width} x {height} px is too small to find a cell in", remedy="give 48 px or more"
        )
    scale = min(1.0, WORKING_SIDE / max(height, width))
    small = rgb if scale == 1 else cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = _outline(np.ascontiguousarray(small, np.uint8))
    if scale < 1:
        enlarged = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        found = np.asarray(enlarged > 0.5)
    return segment(rgb, found)


def _outline(rgb: NDArray[np.uint8]) -> Mask:
    side = min(rgb.shape[:2])
    stain = nuclear_stain(rgb, sigma=side / 150)
    levels = otsu_levels(stain, 3)
    nucleus = _nucleus(np.asarray(stain > levels[1]), side)
    return outline_around(rgb, nucleus, np.asarray((stain > levels[0]) & (stain <= levels[1])))


def _nucleus(dark: Mask, side: int) -> Mask:
    """The darkest class' part in the middle."""
    if not dark.any():
        raise PictureError("nothing in the crop stains as a nucleus", remedy="give a crop with one white cell")
    return np.asarray(dark & _most_central(closed(dark, side / 20)))


def _most_central(mask: Mask) -> Mask:
    """The component with the largest weight under a Gaussian around the middle."""
    height, width = mask.shape
    y, x = np.ogrid[:height, :width]
    across = ((x + 0.5 - width / 2) / (_CENTRE * width)) ** 2 + ((y + 0.5 - height / 2) / (_CENTRE * height)) ** 2
    labels, areas = components(mask)
    weight = np.bincount(labels.ravel(), weights=np.exp(-across).ravel(), minlength=len(areas))
    weight[0] = 0
    return np.asarray(labels == int(np.argmax(weight)))
