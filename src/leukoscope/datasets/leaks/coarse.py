"""Where would the second cell have to lie to lie on the first? A quick answer at half the tile's scale."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.leaks.candidates import STEP
from leukoscope.datasets.leaks.tiles import texture

LEAST_OVERLAP = 0.5
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-3)

Layers = tuple[NDArray[np.float32], NDArray[np.float32]]


def half(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve a tile without letting the black surround darken the rim: uint8 [S, S] to [S / 2, S / 2]."""
    side = tile.shape[0] // 2
    share = cv2.resize((tile > 0).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    grey = cv2.resize(tile.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    levels = np.clip(np.rint(grey / np.maximum(share, 1e-3)), 1, 255)
    return np.where(share >= 0.5, levels, 0).astype(np.uint8)


def coarse_layers(tile: NDArray[np.uint8]) -> Layers:
    """Texture and weight at half the tile's scale, float32 [S / 2, S / 2] each."""
    return texture(half(tile), fine=0.7, coarse=4.0, fade=2.0)


def turn_angles(steps: int) -> list[float]:
    """Angles in degrees, counter-clockwise, to try for a turn found by fingerprint, which cannot tell half turns."""
    return [base + nudge - steps * STEP for base in (0.0, 180.0) for nudge in (0.0, -2.0, 2.0)]


def mirrored(layers: Layers) -> Layers:
    """Layers of the picture mirrored left to right."""
    return np.ascontiguousarray(layers[0][:, ::-1]), np.ascontiguousarray(layers[1][:, ::-1])


def coarse_match(
    first: Layers, second: Layers, angles: Sequence[float], mirror: bool
) -> tuple[float, NDArray[np.float64]]:
    """Best masked correlation over some angles and all shifts (Padfield, IEEE TIP 21, 2012).

    Args:
        first: texture and weight, float32 [S, S] each.
        second: the same of the other picture.
        angles: turns of the second picture in degrees, counter-clockwise.
        mirror: whether to mirror the second picture left to right before it is turned.

    Returns:
        Correlation, and the matrix, float64 [2, 3], that takes a pixel of the first to the (mirrored) second.
    """
    side = first[0].shape[0]
    a = _transforms(*first)
    second = mirrored(second) if mirror else second
    # The plain correlation tells the angle, at a quarter of the cost of the masked one, which then tells the shift.
    best = (-np.inf, float(angles[0]))
    for angle in angles:
        moved = np.fft.rfft2(_turn(second[0], angle))
        best = max(best, (float(np.fft.irfft2(a[0] * np.conj(moved), s=(side, side)).max()), float(angle)))
    angle = best[1]
    b = np.conj(_transforms(_turn(second[0], angle), _turn(second[1], angle)))
    products = np.stack([a[0] * b[0], a[1] * b[2], a[2] * b[1], a[2] * b[2]])
    cross, energy_a, energy_b, shared = np.fft.irfft2(products, s=(side, side))
    energy = np.sqrt(np.maximum(energy_a, 1e-3) * np.maximum(energy_b, 1e-3))
    floor = LEAST_OVERLAP * min(float(first[1].sum()), float(second[1].sum()))
    score = np.where(shared >= max(floor, 1.0), cross / energy, -1.0)
    peak = int(score.argmax())
    y, x = divmod(peak, side)
    shift = (float(x - side if x > side // 2 else x), float(y - side if y > side // 2 else y))
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    matrix[:, 2] += np.asarray(shift)
    return float(score.flat[peak]), np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def settle(
    first: Layers, second: Layers, matrix: NDArray[np.float64], mirror: bool
) -> tuple[float, NDArray[np.float64]]:
    """Sharpen a coarse match by some steps of ECC (Evangelidis and Psarakis, PAMI 30, 2008): turn and shift only.

    Returns:
        Correlation inside the overlap, -1 where the two share too little, and the matrix.
    """
    second = mirrored(second) if mirror else second
    inside = (first[1] > 0.5).astype(np.uint8)
    choices = [matrix]
    try:
        start = matrix.astype(np.float32)
        _, found = cv2.findTransformECC(first[0], second[0], start, cv2.MOTION_EUCLIDEAN, _STOP, inside, 3)
        choices.append(np.asarray(found, np.float64))
    except cv2.error:  # it did not converge
        pass
    # It may also run away, hence the coarse match stays in the race.
    scores = [_agreement(first, second, choice) for choice in choices]
    best = int(np.argmax(scores))
    return scores[best], choices[best]


def _agreement(first: Layers, second: Layers, matrix: NDArray[np.float64]) -> float:
    """Correlation inside the overlap, -1 where it is too small."""
    moved = [warp(layer, matrix) for layer in second]
    shared = (first[1] > 0.9) & (moved[1] > 0.9)
    smaller = min(int((first[1] > 0.9).sum()), int((second[1] > 0.9).sum()))
    if shared.sum() < max(LEAST_OVERLAP * smaller, 25):
        return -1.0
    return correlation(first[0][shared], moved[0][shared])


def warp(layer: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bring a layer of the second picture onto the first: float32 [S, S] or [S, S, C]."""
    side = layer.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(layer, matrix, (side, side), flags=flags), np.float32)


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of two lists of levels, -1 to 1; 0 where one of them is even."""
    a, b = a - a.mean(), b - b.mean()
    return float(np.sum(a * b) / max(float(np.sqrt(np.sum(a * a) * np.sum(b * b))), 1e-6))


def _turn(layer: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """Turn a layer about its middle by an angle in degrees, counter-clockwise."""
    side = layer.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(layer, matrix, (side, side)), np.float32)


def _transforms(t: NDArray[np.float32], w: NDArray[np.float32]) -> NDArray[np.complex64]:
    return np.fft.rfft2(np.stack([t, t * t, w])).astype(np.complex64)
