"""Chromatin in numbers: how mixed, how grainy and how clumped the nucleus is stained, and its pale round spots.

Everything is measured on the logarithm of the green level, in which a brighter or darker picture of the same cell has
the same texture. Scales are in pixels of the picture, as texture has a size of its own, whatever the cell's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask, components, eroded
from leukoscope.cells.stain import Floats, smooth

BIN = 0.05  # of the logarithm, that is 5 % of brightness: width of the bins of the entropy
FINE = (1.0, 3.0)  # pixels: widths of the two Gaussians whose difference is the fine grain
COARSE = (3.0, 8.0)  # the same for clumps
SPOT = (0.025, 0.08)  # the same for nucleoli, in cell diameters
SPOT_HEIGHT = 3.0  # in robust standard deviations of the nucleus at that scale
SPOT_AREA = (0.003, 0.08)  # of the nucleus
SPOT_FILL = 0.6  # least area over that of the disc around the spot's own middle: spots are compact
LEAST_PIXELS = 200  # below, none of this means anything


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


def texture(rgb: NDArray[np.uint8], nucleus: Mask, *, diameter: float, rim: float) -> Texture | None:
    """Measure the chromatin, away from the nucleus' blurred border.

    Args:
        rgb: uint8 [H, W, 3].
        nucleus: bool [H, W].
        diameter: of the cell, in pixels.
        rim: width in pixels that is left out along the nucleus' border.

    Returns:
        None where fewer than `LEAST_PIXELS` pixels are left.
    """
    inside = eroded(nucleus, rim)
    if np.count_nonzero(inside) < LEAST_PIXELS:
        return None
    light = np.log(rgb[..., 1].astype(np.float32) + 1)
    values = light[inside]
    _bins, counts = np.unique(np.rint((values - np.median(values)) / BIN), return_counts=True)
    share = counts / values.size
    # One Gaussian of 3 px serves both bands.
    levels = {sigma: smooth(light, nucleus, sigma) for sigma in sorted({*FINE, *COARSE})}
    fine = (levels[FINE[0]] - levels[FINE[1]])[inside]
    coarse = (levels[COARSE[0]] - levels[COARSE[1]])[inside]
    return Texture(
        density=math.log10(256) - float(np.median(values)) / math.log(10),
        entropy=float(-(share * np.log2(share)).sum()),
        contrast=100 * float(fine.std(dtype=np.float64)),
        clumping=100 * float(coarse.std(dtype=np.float64)),
        spots=_spots(light, nucleus, inside, diameter),
    )


def _spots(light: Floats, nucleus: Mask, inside: Mask, diameter: float) -> int:
    """Count the places that are paler than their surroundings at the size of a nucleolus."""
    band = smooth(light, nucleus, SPOT[0] * diameter) - smooth(light, nucleus, SPOT[1] * diameter)
    values = band[inside]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    labels, areas = components(inside & (band > middle + SPOT_HEIGHT * max(spread, 1e-3)))
    least, most = (share * np.count_nonzero(nucleus) for share in SPOT_AREA)
    return sum(_compact(labels == k) for k in np.flatnonzero((areas >= least) & (areas <= most)).tolist())


def _compact(spot: Mask) -> bool:
    """Whether most of the spot lies in the disc of its own area around its middle."""
    y, x = np.nonzero(spot)
    away = (y - y.mean()) ** 2 + (x - x.mean()) ** 2
    return bool(np.mean(away <= len(y) / math.pi + 0.5) >= SPOT_FILL)
