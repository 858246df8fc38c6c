"""Laying one cell over another to a fraction of a pixel: does its texture agree there?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.data.audit.coarse import LEAST_OVERLAP, correlation, warp
from leukoscope.data.audit.texture import texture


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the second cell lies on the first.

    Attributes:
        matrix: float64 [2, 3], takes a pixel of the first tile to the second, mirrored left to right if ``mirror``.
        mirror: the second cell was mirrored.
        middle: correlation inside the overlap of the texture that survives a change of focus, -1 to 1.
        fine: the same for the finest texture, where unrelated cells of one stain and one outline agree least.
        grey: mean absolute difference of the grey levels inside the overlap, 0 to 255.
        overlap: shared area as a part of the smaller cell, 0 to 1.
    """

    matrix: NDArray[np.float64]
    mirror: bool
    middle: float
    fine: float
    grey: float
    overlap: float

    @property
    def score(self) -> float:
        """Mean correlation of both textures: what decides."""
        return (self.middle + self.fine) / 2


def refine(
    first: NDArray[np.uint8], second: NDArray[np.uint8], start: NDArray[np.float64], mirror: bool
) -> Alignment | None:
    """Sharpen a coarse match to a fraction of a pixel (ECC, Evangelidis and Psarakis, PAMI 30, 2008) and judge it.

    Args:
        first: tile, uint8 [S, S].
        second: tile of the other picture.
        start: from `settle`, float64 [2, 3], at half the scale.
        mirror: whether to mirror the second tile first.

    Returns:
        The alignment; None where the two share too little or would have to be distorted, as no camera does.
    """
    other = np.ascontiguousarray(second[:, ::-1]) if mirror else second
    matrix = start.astype(np.float32)
    # Pixel x of the half tile has its middle at 2 x + 1/2 of the tile.
    matrix[:, 2] = 2 * start[:, 2] + 0.5 - 0.5 * start[:, :2].sum(axis=1)
    middle_a, weight_a = texture(first, fine=2.0, coarse=8.0, fade=4.0)
    middle_b, weight_b = texture(other, fine=2.0, coarse=8.0, fade=4.0)
    inside = (weight_a > 0.5).astype(np.uint8)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    for model in (cv2.MOTION_EUCLIDEAN, cv2.MOTION_AFFINE):
        try:
            _, found = cv2.findTransformECC(middle_a, middle_b, matrix.copy(), model, stop, inside, 3)
        except cv2.error:  # it did not converge: what came before stands
            break
        matrix = np.asarray(found, np.float32)
    scale = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if scale[1] < 0.85 or scale[0] > 1.18 or scale[0] > 1.06 * scale[1]:
        return None
    fine_a, _ = texture(first, fine=1.0, coarse=5.0, fade=4.0)
    fine_b, _ = texture(other, fine=1.0, coarse=5.0, fade=4.0)
    moved_fine, moved_middle, moved_weight, moved_grey = (
        warp(layer, matrix.astype(np.float64)) for layer in (fine_b, middle_b, weight_b, other.astype(np.float32))
    )
    shared = (weight_a > 0.9) & (moved_weight > 0.9)
    smaller = min(int((weight_a > 0.9).sum()), int((weight_b > 0.9).sum()))
    overlap = float(shared.sum()) / max(smaller, 1)
    if overlap < LEAST_OVERLAP or shared.sum() < 100:
        return None
    return Alignment(
        matrix=matrix.astype(np.float64),
        mirror=mirror,
        middle=correlation(middle_a[shared], moved_middle[shared]),
        fine=correlation(fine_a[shared], moved_fine[shared]),
        grey=float(np.abs(first[shared] - moved_grey[shared]).mean()),
        overlap=min(overlap, 1.0),
    )
