"""A cheap fingerprint of a texture that does not change when the cell is shifted.

The magnitude of the Fourier transform forgets where the cell lies; on a polar grid, a turned cell has a moved
fingerprint and a mirrored one a reversed fingerprint (Reddy and Chatterji, IEEE TIP 5, 1996). Every ring is made to
have mean 0 and variance 1, so a change of focus, which weakens whole rings, leaves it as it is.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RINGS = 16
ANGLES = 36  # over half a turn: the magnitude is the same on both sides
STEP = 180.0 / ANGLES  # degrees


def fingerprint(texture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Polar log-magnitude spectrum of a texture.

    Args:
        texture: float32 [S, S], zero outside the cell; S is 96 in the audit.

    Returns:
        float32 [RINGS, ANGLES], each ring of mean 0 and variance 1 (or all 0, for a blank picture).
    """
    side = texture.shape[0]
    magnitude = np.fft.fftshift(np.abs(np.fft.fft2(texture))).astype(np.float32)
    smooth = cv2.GaussianBlur(np.log1p(magnitude), (0, 0), 0.8)
    # Periods of 24 down to 3.6 pixels: chromatin, neither the outline nor noise.
    radius = (4.0 + 1.5 * np.arange(RINGS))[:, None] * side / 96
    angle = np.deg2rad(np.arange(ANGLES) * STEP)[None, :]
    x = (side // 2 + radius * np.cos(angle)).astype(np.float32)
    y = (side // 2 + radius * np.sin(angle)).astype(np.float32)
    polar = np.asarray(cv2.remap(smooth, x, y, cv2.INTER_LINEAR), np.float32)
    polar = polar - polar.mean(axis=1, keepdims=True)
    spread = polar.std(axis=1, keepdims=True)
    return np.where(spread > 1e-4, polar / np.maximum(spread, 1e-4), 0).astype(np.float32)


def turned(prints: NDArray[np.float32], steps: int, mirror: bool) -> NDArray[np.float32]:
    """Fingerprints of the cells mirrored left to right (if asked), then turned by ``steps`` times `STEP` degrees.

    Args:
        prints: float32 [..., RINGS, ANGLES].
        steps: clockwise on the screen (y points down).
        mirror: whether to mirror first.
    """
    if mirror:
        prints = np.roll(prints[..., ::-1], 1, axis=-1)
    return np.roll(prints, steps, axis=-1)
