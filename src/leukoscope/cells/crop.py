"""Finding one white cell in the middle of a small crop that shows its surroundings: plasma, red cells, neighbours.

For crops of about one cell's size and a half, as cut out by hand or by a detector. Whole smear fields are not covered.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, closed, components, filled, opened
from leukoscope.cells.segment import Segmentation, segment
from leukoscope.cells.stain import Floats, nuclear_stain, otsu_levels
from leukoscope.errors import PictureError

WORKING_SIDE = 300  # pixels: the outline is sought on the crop reduced to this; smaller ones lose pale cytoplasm
MIN_CROP_SIDE = 48  # pixels: below, a cell has too few pixels for lobes and rims
_CENTRE = 0.25  # of the side: width of the Gaussian that says how central a pixel is
_NEAR, _FAR = 1.3, 2.0  # of the nucleus' radius beyond its hull: probably the cell; surely not the cell
_LEAST_REACH = 0.16  # of the side: `_FAR` is at least this, for cells with small nuclei
_NECK = 0.05  # of the side: radius below which parts outside the nucleus are leaks
_ROUNDS = 4  # of GrabCut: more change little
_SOLID = 0.95  # share of its hull: an outline that fills less may have taken in a red cell that it touches
_LIKE = 12.0  # squared Mahalanobis distance in Lab: what is nearer to the red cells' colour is probably a red cell
_GRAIN = 1 / 60  # of the side: narrower parts of that colour are granules or edges
_OUTSIDE = 0.02  # of such a part's area: at least this lies where no part of the cell does
_FAR_SHARE = 0.6  # of the crop's pixels: the rest is far from the nucleus, however large that is
_TRIM = 11.0  # squared distance: what is farther from the red cells' middle is another thing (99 % of three dimensions)
_LEAST_VARIANCE = 4.0  # of a Lab channel: a colour is not told more finely
_FEWEST = 0.04  # of the crop's pixels: fewer of red cells tell no colour


def segment_crop(rgb: NDArray[np.uint8]) -> Segmentation:
    """Outline, nucleus and cytoplasm of the white cell in the middle of a crop.

    The darkest of three classes of the nuclear stain (Otsu) that lies nearest the middle is the nucleus to start from;
    GrabCut (Rother, Kolmogorov & Blake 2004, ACM TOG 23) grows the cell from it in CIE Lab, knowing that nothing beyond
    two nucleus radii belongs to it; leaks through narrow necks are cut off. An outline with bulges is sought once more,
    starting with what looks like the crop's red cells outside of it, and the more solid one holds: a red cell that
    touches the white one bulges. `segment` then divides what was found.

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
    y, x = np.nonzero(nucleus)
    hull = np.zeros(nucleus.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.stack([x, y], 1).astype(np.int32)), (1,))
    radius = float(np.sqrt(hull.sum() / np.pi))
    away = np.asarray(cv2.distanceTransform(1 - hull, cv2.DIST_L2, 5), np.float32)
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), side / 200), cv2.COLOR_RGB2LAB), np.uint8)
    belief = np.full(nucleus.shape, cv2.GC_PR_BGD, np.uint8)
    belief[away < _NEAR * radius] = cv2.GC_PR_FGD
    belief[away > max(_FAR * radius, _LEAST_REACH * side)] = cv2.GC_BGD
    belief[nucleus] = cv2.GC_FGD
    margin = max(1, side // 60)
    for edge in (np.s_[:margin], np.s_[-margin:], np.s_[:, :margin], np.s_[:, -margin:]):
        belief[edge] = cv2.GC_BGD
    first = _grabbed(lab, belief, nucleus, side)
    if _solidity(first) >= _SOLID:
        return first
    red = np.asarray((stain > levels[0]) & (stain <= levels[1]))
    touching = _red_cells(lab, red, away, radius, side) & (belief == cv2.GC_PR_FGD) & (hull == 0)
    if not touching.any():
        return first
    second = _grabbed(lab, np.where(touching, np.uint8(cv2.GC_PR_BGD), belief), nucleus, side)
    return max(first, second, key=_solidity)


def _grabbed(lab: NDArray[np.uint8], belief: NDArray[np.uint8], nucleus: Mask, side: int) -> Mask:
    """The cell that GrabCut makes of a belief, without leaks; the belief stays as it is."""
    belief = belief.copy()
    cv2.setRNGSeed(0)  # its k-means starts at random: the same crop must give the same cell
    cv2.grabCut(lab, belief, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cell = filled(np.isin(belief, (cv2.GC_FGD, cv2.GC_PR_FGD)) | nucleus)
    return filled(_most_central(opened(cell, _NECK * side) | nucleus))


def _solidity(mask: Mask) -> float:
    """Share of its convex hull that the largest part of a mask fills; white cells fill nearly all of it."""
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring = max(rings, key=cv2.contourArea)
    return float(cv2.contourArea(ring)) / max(1.0, float(cv2.contourArea(cv2.convexHull(ring))))


def _red_cells(lab: NDArray[np.uint8], red: Mask, away: Floats, radius: float, side: int) -> Mask:
    """What has the colour of the red cells far from the nucleus and goes on beyond the cell, bool [H, W].

    A red cell that touches the white one would otherwise teach GrabCut its colour as the cell's. The colour is a normal
    distribution fitted without its outliers: neighbours, platelets, edges.

    Args:
        lab: uint8 [H, W, 3], CIE Lab, smoothed.
        red: bool [H, W], stained less than nuclei and more than the ground.
        away: float32 [H, W], distance from the nucleus' hull.
        radius: of that hull.
        side: of the crop.
    """
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
    beyond = np.bincount(parts.ravel(), (away > min(radius, edge)).ravel(), len(areas))
    return np.asarray(((beyond > _OUTSIDE * areas) & (areas > 0))[parts])


def _squared(vectors: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Mahalanobis lengths [N] of vectors [N, 3]."""
    return np.asarray(((vectors @ inverse) * vectors).sum(axis=1), np.float64)


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
