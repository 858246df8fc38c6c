"""The texture of a cell: what is left when its outline, its brightness and its contrast are taken away."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def texture(
    tile: NDArray[np.uint8], *, fine: float, coarse: float, fade: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Band-pass the inside of a cell and even out its local contrast.

    Every blur is a normalised convolution (Knutsson and Westin 1993), so the black surround never mixes with the
    cell; the result fades to zero towards the outline. Two round cells with unlike chromatin therefore have nothing in
    common. Gains and gamma change brightness and local contrast only, and both are divided out.

    Args:
        tile: grey levels of one cell, uint8 [S, S], 0 outside the cell and 1 to 255 inside.
        fine: standard deviation in pixels of the blur that removes noise.
        coarse: standard deviation in pixels of the blur that is subtracted.
        fade: width in pixels of the ramp at the outline.

    Returns:
        The texture, float32 [S, S], zero outside; and its weight, float32 [S, S], 0 to 1.

    >>> flat, weight = texture(np.full((32, 32), 90, np.uint8), fine=1.0, coarse=4.0, fade=2.0)
    >>> bool(np.abs(flat).max() < 0.1), float(weight.max())
    (True, 1.0)
    """
    inside = tile > 0
    mask = inside.astype(np.float32)
    grey = tile.astype(np.float32)
    band = _normalised_blur(grey, mask, fine) - _normalised_blur(grey, mask, coarse)
    # The edge of the tile is an outline as well, hence the padding.
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip((depth - 1.0) / fade, 0.0, 1.0).astype(np.float32)
    band *= weight
    reach = 1.5 * coarse
    local = np.sqrt(_blur(band * band, reach) / np.maximum(_blur(weight, reach), 1e-3))
    overall = float(np.sqrt(np.sum(band * band) / max(float(weight.sum()), 1.0)))
    # The floor of one grey level keeps quantisation noise of an even area from being blown up into a texture.
    even = band / (local + 0.3 * overall + 1.0)
    return np.where(weight > 0, even, 0.0).astype(np.float32), weight


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), np.float32)


def _normalised_blur(grey: NDArray[np.float32], mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(_blur(grey * mask, sigma) / np.maximum(_blur(mask, sigma), 1e-3), np.float32)
