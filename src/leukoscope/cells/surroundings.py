"""Finding one white cell in the middle of a small crop that shows its surroundings: plasma, red cells, neighbours.

For crops of about one cell's size and a half, as cut out by hand or by a detector. Whole smear fields are not covered.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask, closed, components, filled, opened
from leukoscope.cells.segment import Segmentation, segment
from leukoscope.cells.stain import nuclear_stain, otsu_levels
from leukoscope.errors import PictureError

WORKING_SIDE = 300  # pixels: the outline is sought on the crop reduced to this; smaller ones lose pale cytoplasm
MIN_SIDE = 48  # pixels: below, a cell has too few pixels for lobes and rims
_CENTRE = 0.25  # of the side: width of the Gaussian that says how central a pixel is
_NEAR, _FAR = 1.3, 2.0  # of the nucleus' radius beyond its hull: probably the cell; surely not the cell
_LEAST_REACH = 0.16  # of the side: `_FAR` is at least this, for cells with small nuclei
_NECK = 0.05  # of the side: radius below which parts outside the nucleus are leaks
_ROUNDS = 4  # of GrabCut: more change little


def segment_crop(rgb: NDArray[np.uint8]) -> Segmentation:
    """Outline, nucleus and cytoplasm of the white cell in the middle of a crop.

    The darkest of three classes of the nuclear stain (Otsu) that lies nearest the middle is the nucleus to start from;
    GrabCut (Rother, Kolmogorov & Blake 2004, ACM TOG 23) grows the cell from it in CIE Lab, knowing that nothing beyond
    two nucleus radii belongs to it; leaks through narrow necks are cut off; `segment` then divides what was found.

    Args:
        rgb: uint8 RGB [H, W, 3], the cell near its middle.

    Raises:
        PictureError: the crop is too small, or holds nothing that stains as a nucleus.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_SIDE:
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
    nucleus = _nucleus(rgb, side)
    y, x = np.nonzero(nucleus)
    hull = np.zeros(nucleus.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.stack([x, y], 1).astype(np.int32)), (1,))
    radius = float(np.sqrt(hull.sum() / np.pi))
    away = cv2.distanceTransform(1 - hull, cv2.DIST_L2, 5)
    belief = np.full(nucleus.shape, cv2.GC_PR_BGD, np.uint8)
    belief[away < _NEAR * radius] = cv2.GC_PR_FGD
    belief[away > max(_FAR * radius, _LEAST_REACH * side)] = cv2.GC_BGD
    belief[nucleus] = cv2.GC_FGD
    margin = max(1, side // 60)
    for edge in (np.s_[:margin], np.s_[-margin:], np.s_[:, :margin], np.s_[:, -margin:]):
        belief[edge] = cv2.GC_BGD
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), side / 200), cv2.COLOR_RGB2LAB)
    cv2.setRNGSeed(0)  # its k-means starts at random: the same crop must give the same cell
    cv2.grabCut(lab, belief, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cell = filled(np.isin(belief, (cv2.GC_FGD, cv2.GC_PR_FGD)) | nucleus)
    return filled(_most_central(opened(cell, _NECK * side) | nucleus))


def _nucleus(rgb: NDArray[np.uint8], side: int) -> Mask:
    stain = nuclear_stain(rgb, sigma=side / 150)
    dark = np.asarray(stain > otsu_levels(stain, 3)[1])
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
