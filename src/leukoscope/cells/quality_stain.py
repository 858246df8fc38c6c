"""The stain of a cell in nine numbers, in optical density, where dyes add up (Beer and Lambert)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

STAIN_NAMES: Final = (
    "mean R", "mean G", "mean B", "ln sd R", "ln sd G", "ln sd B", "atanh cor RG", "atanh cor RB", "atanh cor GB",
)  # fmt: skip
MOST_PIXELS = 5_000  # of a cell: more change the third digit only
_LEAST_SPREAD = 0.005  # OD, about one level at mid-grey: finer spread cannot be seen in 8 bits
_LEVELS = np.arange(256, dtype=np.float64)
_DENSITY = -np.log10((_LEVELS + 1) / 256).astype(np.float64)


def stain_statistics(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
    """Mean, spread and correlation of the optical density of a cell's pixels.

    The optical density of level v is ``-log10((v + 1) / 256)`` (Ruifrok & Johnston 2001, Anal Quant Cytol Histol 23,
    291-299). Spreads enter by their logarithm and correlations by Fisher's z, which makes them nearly normal.

    Args:
        pixels: uint8 [N, 3], N at least 1; more than `MOST_PIXELS` are thinned evenly.

    Returns:
        float64 [9] in the order of `STAIN_NAMES`, finite; and the 90 % quantile of the density in green.

    >>> stain_statistics(np.full((50, 3), 255, np.uint8))[0].round(2).tolist()
    [0.0, 0.0, 0.0, -5.3, -5.3, -5.3, 0.0, 0.0, 0.0]
    """
    levels = np.ascontiguousarray(pixels[:: -(-len(pixels) // MOST_PIXELS)])
    density = np.ascontiguousarray(np.asarray(cv2.LUT(levels, _DENSITY), np.float64).reshape(-1, 3).T)
    mean = density.sum(axis=1) / len(levels)
    covariance = density @ density.T / len(levels) - np.outer(mean, mean)  # densities are below 3: nothing cancels
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    floor = np.maximum(spread, _LEAST_SPREAD)
    correlation = (covariance / np.outer(floor, floor))[[0, 0, 1], [1, 2, 2]]
    numbers = np.concatenate([mean, np.log(floor), np.arctanh(np.clip(correlation, -0.999, 0.999))])
    # Density falls with the level: its 90 % quantile is at the level's 10 %, found by counting.
    place = len(levels) - 1 - int(0.9 * (len(levels) - 1))
    level = int(np.searchsorted(np.cumsum(np.bincount(levels[:, 1], minlength=256)), place, side="right"))
    return numbers, float(_DENSITY[level])
