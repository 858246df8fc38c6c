"""Chromatin in numbers: how mixed, how grainy and how clumped the nucleus is stained, and its pale round spots.

Everything is measured on the logarithm of the green level, in which a brighter or darker picture of the same cell has
the same texture. Scales are in pixels of the picture, as texture has a size of its own, whatever the cell's. Means are
over squares as wide as Gaussians of those scales, and over the nucleus alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, enclosed, inked, outlines
from leukoscope.cells.stain import Floats

BIN = 0.05  # of the logarithm, that is 5 % of brightness: width of the bins of the entropy
FINE = (1.2, 3.0)  # pixels: standard deviations of the two means whose difference is the fine grain
COARSE = (3.0, 8.0)  # the same for clumps
SPOT = (0.025, 0.08)  # the same for nucleoli, in cell diameters
SPOT_HEIGHT = 3.0  # in robust standard deviations of the nucleus at that scale
SPOT_AREA = (0.003, 0.08)  # of the nucleus
SPOT_FILL = 0.6  # least area over that of the disc around the spot's own middle: spots are compact
LEAST_PIXELS = 200  # of the picture: below, none of this means anything
_LOGARITHM: Final = np.log(np.arange(256, dtype=np.float64) + 1)
_NARROW = 2.0  # pixels of the array: squares are too coarse below
_LIGHT: Final = _LOGARITHM.astype(np.float32)
_HEIGHTS = (-0.4, 0.4, 801)  # of the logarithm, and bins between: for the median of spots


@dataclass(frozen=True, slots=True)
class Texture:
    """Chromatin of one nucleus.

    Attributes:
        density: optical density of green, ``log10(256 / (G + 1))``, median over the nucleus.
        entropy: Shannon entropy of the levels in bins of 5 % brightness, bits (Shannon 1948).
        contrast: standard deviation of the fine grain, in percent of brightness.
        clumping: the same of the coarse grain, in percent of brightness.
        spots: number of pale, compact spots: candidates for nucleoli.
    """

    density: float
    entropy: float
    contrast: float
    clumping: float
    spots: int


def texture(green: NDArray[np.uint8], nucleus: Mask, inside: Mask, *, diameter: float, step: int = 1) -> Texture | None:
    """Measure the chromatin, away from the nucleus' blurred border.

    Args:
        green: uint8 [H, W].
        nucleus: bool [H, W].
        inside: bool [H, W], the nucleus without its border: what is measured.
        diameter: of the cell, in pixels of the array.
        step: pixels of the picture to one of the array.

    Returns:
        None where fewer than `LEAST_PIXELS` pixels of the picture are left.
    """
    counts = cv2.calcHist([green], [0], inside.view(np.uint8), [256], [0, 256]).ravel()
    pixels = float(counts.sum())
    if pixels * step**2 < LEAST_PIXELS:
        return None
    # The middle of an even number of pixels may lie between two levels.
    summed = np.cumsum(counts)
    low, high = (int(np.searchsorted(summed, place)) for place in (pixels / 2, pixels / 2 + 0.5))
    middle = float(_LOGARITHM[low] + _LOGARITHM[high]) / 2
    bins = np.rint((_LOGARITHM - middle) / BIN).astype(np.int64)
    amounts = np.bincount(bins - bins[0], weights=counts)
    share = amounts[amounts > 0] / pixels
    light = np.asarray(cv2.LUT(green, _LIGHT), np.float32)
    around = _mean_within(light, nucleus, SPOT[1] * diameter)
    coarse = _mean_within(light, nucleus, _in_array(COARSE[1], step))
    light = np.where(nucleus, light, around)  # the narrower means hardly reach beyond the nucleus
    fine, middling, spot = (
        _mean(light, sigma) for sigma in (_in_array(FINE[0], step), _in_array(FINE[1], step), SPOT[0] * diameter)
    )
    return Texture(
        density=math.log10(256) - middle / math.log(10),
        entropy=-float(share @ np.log2(share)),
        contrast=100 * _spread(fine - middling, inside),
        clumping=100 * _spread(middling - coarse, inside),
        spots=_spots(spot - around, inside, int(np.count_nonzero(nucleus))),
    )


def _mean_within(light: Floats, nucleus: Mask, sigma: float) -> Floats:
    """Mean over those pixels of a square that are nucleus (normalised convolution: Knutsson & Westin 1993)."""
    weight, size = nucleus.view(np.uint8), (_side(sigma), _side(sigma))
    weighted = cv2.multiply(light, weight, dtype=cv2.CV_32F)
    total = cv2.boxFilter(weighted, cv2.CV_32F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(weight, cv2.CV_32F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _mean(light: Floats, sigma: float) -> Floats:
    """Mean over a square that is as wide as a Gaussian; a Gaussian itself where that is narrow."""
    if sigma >= _NARROW:
        return np.asarray(cv2.blur(light, (_side(sigma), _side(sigma)), borderType=cv2.BORDER_REPLICATE), np.float32)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def _side(sigma: float) -> int:
    """Odd side of the square whose variance, ``(side^2 - 1) / 12``, is nearest to that of a Gaussian."""
    return 2 * round((math.sqrt(12 * sigma**2 + 1) - 1) / 2) + 1


def _in_array(sigma: float, step: int) -> float:
    """What is left to do of a Gaussian after means over squares of ``step`` pixels, in pixels of the array."""
    return math.sqrt(max(sigma**2 - (step**2 - 1) / 12, 0.1)) / step


def _spread(band: Floats, inside: Mask) -> float:
    return float(cv2.meanStdDev(band, mask=inside.view(np.uint8))[1][0, 0])


def _spots(band: Floats, inside: Mask, nucleus: int) -> int:
    """Count the places that are paler than their surroundings at the size of a nucleolus.

    Args:
        band: float32 [H, W], logarithm of the light less that of the surroundings.
        inside: bool [H, W], where to look.
        nucleus: pixels of the nucleus.
    """
    middle, spread = _middle_and_spread(band, inside)
    found = inside & (band > middle + SPOT_HEIGHT * max(spread, 1e-3))
    least, most = (share * nucleus for share in SPOT_AREA)
    if np.count_nonzero(found) < least:
        return 0
    return sum(least <= enclosed(line) <= most and _compact(line) for line in outlines(found).parts)


def _middle_and_spread(band: Floats, inside: Mask) -> tuple[float, float]:
    """Median, and 1.4826 times the median distance from it, from a histogram in bins of a thousandth."""
    low, high, bins = _HEIGHTS
    counts = cv2.calcHist([band], [0], inside.view(np.uint8), [int(bins)], [low, high]).ravel().astype(np.float64)
    half = counts.sum() / 2
    middle = int(np.searchsorted(np.cumsum(counts), half))
    reach = min(middle, len(counts) - 1 - middle)
    around = counts[middle - reach : middle + reach + 1]
    folded = around[reach:].copy()
    folded[1:] += around[:reach][::-1]
    width = (high - low) / bins
    spread = int(np.searchsorted(np.cumsum(folded), half))
    return low + (middle + 0.5) * width, 1.4826 * spread * width


def _compact(outline: NDArray[np.int32]) -> bool:
    """Whether most of the spot lies in the disc of its own area around its middle."""
    left, top, width, height = cv2.boundingRect(outline)
    y, x = np.nonzero(inked([outline - np.array((left, top), np.int32)], (height, width)))
    away = (y - y.mean()) ** 2 + (x - x.mean()) ** 2
    return bool(np.count_nonzero(away <= len(y) / math.pi + 0.5) >= SPOT_FILL * len(y))
