"""Taking pixels of a cell away without leaving a hole: each becomes what its neighbours suggest, plus some noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from leukoscope.evaluation.saliency.cells import Mask
from leukoscope.evaluation.weighting import Array

NOISE = 2.5  # levels of 255: 0.01 of the range, as the authors' code has it
_NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], dtype=np.float64) / 12  # 1/6 beside, 1/12 across corners
_TOLERANCE = 0.02  # levels, of the residual of each equation
_STEPS = 400


def impute(picture: Array, removed: Mask, inside: Mask, rng: Generator, *, noise: float = NOISE) -> Array:
    """Noisy linear imputation of Rong et al. 2022, "A consistent and efficient evaluation strategy" (ROAD).

    Every removed pixel is set to the weighted mean of its eight neighbours, all at once: a sparse system of equations,
    solved by conjugate gradients. Other than there, pixels outside the cell take no part: the cell keeps its outline
    and its size, which are cues to the class, and black never bleeds in.

    Args:
        picture: float64 [h, w, 3], levels of 255.
        removed: bool [h, w], pixels to replace.
        inside: bool [h, w], the cell; what is removed must lie inside.
        rng: for the noise.
        noise: standard deviation in levels.

    Returns:
        float64 [h, w, 3] in 0..255. A removed part that touches no pixel that is left becomes the cell's mean colour.
    """
    if not removed.any():
        return picture.copy()
    gone, kept = removed[..., None].astype(np.float64), (inside & ~removed)[..., None].astype(np.float64)
    weight = _around(np.repeat(inside[..., None].astype(np.float64), 3, axis=2))
    given = _around(picture * kept) * gone
    mean = picture[inside & ~removed] if (inside & ~removed).any() else picture[inside]
    x = gone * mean.mean(axis=0)
    residual = given - (weight * x - _around(x)) * gone
    direction, size = residual.copy(), (residual**2).sum(axis=(0, 1))
    for _ in range(_STEPS):
        if np.abs(residual).max() < _TOLERANCE:
            break
        image = (weight * direction - _around(direction)) * gone
        curvature = (direction * image).sum(axis=(0, 1))
        step = np.divide(size, curvature, out=np.zeros(3), where=curvature > 0)
        x += step * direction
        residual -= step * image
        smaller = (residual**2).sum(axis=(0, 1))
        direction = residual + np.divide(smaller, size, out=np.zeros(3), where=size > 0) * direction
        size = smaller
    x += rng.normal(0, noise, x.shape) if noise > 0 else 0.0
    # At least one level: a pixel of exactly 0 would pass for surround.
    return np.asarray(np.where(removed[..., None], np.clip(x, 1, 255), picture))


def _around(values: Array) -> Array:
    return np.asarray(cv2.filter2D(values, cv2.CV_64F, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT), np.float64)
