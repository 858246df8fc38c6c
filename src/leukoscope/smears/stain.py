"""A field in optical density: what the ground's light is, and how unlike a red cell each pixel is stained.

Density follows Beer and Lambert, ``-log10(light / light of the ground)``, with the ground's light estimated from the
picture. Haemoglobin and eosin absorb blue light at least as strongly as green; the azure dyes of chromatin and of white
cells' cytoplasm let blue pass. So ``R + G - 2 B`` in density is near 0 for the ground and for red cells alike, whatever
the lamp, and rises with purple: one number tells white cells and platelets from everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.stain import Floats, Mask, otsu_levels

AZURE: Final = (1.0, 1.0, -2.0)  # weights of R, G and B in density: what azure dyes have and red cells have not
_SAMPLE = 1 << 18  # pixels that levels are estimated from


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """A picture in optical density.

    Attributes:
        ground: light of the empty ground, float64 [3], levels 0 to 255, RGB.
        purple: float32 [H, W], ``R + G - 2 B`` in density, or along another axis; near 0 for ground and red cells.
        red: float32 [H, W], ``G + B`` in density: what shows red cells best.
        middle: median of ``purple``: of ground and red cells, where white cells are the lesser part.
        spread: of ``purple`` around it, as a standard deviation, see `middle_and_spread`.
    """

    ground: NDArray[np.float64]
    purple: Floats
    red: Floats
    middle: float
    spread: float


def density(
    rgb: NDArray[np.uint8], *, sigma: float, hidden: Mask | None = None, weights: Sequence[float] = AZURE
) -> Density:
    """Optical densities of a picture, smoothed.

    Args:
        rgb: uint8 [H, W, 3].
        sigma: width of the Gaussian in pixels; 0 for none.
        hidden: bool [H, W], what no level is estimated from, see `smears.seen`.
        weights: of R, G and B in ``purple``.
    """
    ground = ground_light(rgb, hidden)
    red, green, blue = absorbed(rgb, ground, sigma)
    by = [np.float32(weight) for weight in weights]
    purple = np.asarray(by[0] * red + by[1] * green + by[2] * blue, np.float32)
    middle, spread = middle_and_spread(purple, hidden)
    return Density(ground, purple, np.asarray(green + blue, np.float32), middle, spread)


def absorbed(rgb: NDArray[np.uint8], ground: NDArray[np.float64], sigma: float) -> list[Floats]:
    """Optical density of R, G and B over a ground, float32 [H, W] each, smoothed by a Gaussian of ``sigma`` pixels."""
    light = cv2.GaussianBlur(rgb, (0, 0), sigma) if sigma > 0 else rgb
    levels = np.arange(256, dtype=np.float64)
    tables = [-np.log10((levels + 1) / (light_of + 1)).astype(np.float32) for light_of in ground]
    return [table[light[..., channel]] for channel, table in enumerate(tables)]


def ground_light(rgb: NDArray[np.uint8], hidden: Mask | None = None) -> NDArray[np.float64]:
    """Light of the ground: median colour of the brighter of two classes of the green channel (Otsu 1979).

    >>> picture = np.full((20, 20, 3), 200, np.uint8); picture[:8] = 90
    >>> ground_light(picture).tolist()
    [200.0, 200.0, 200.0]
    """
    some = _sample(rgb, hidden)
    (level,) = otsu_levels(some[:, 1].astype(np.float32))
    bright = some[some[:, 1] >= level]
    return np.asarray(np.median(bright, axis=0), np.float64)


def middle_and_spread(values: Floats, hidden: Mask | None = None) -> tuple[float, float]:
    """Median, and the standard deviation of the normal distribution of the lesser median deviation of the two sides.

    White cells widen the upper side and may fill a third of a small picture; many red cells widen the lower.
    """
    some = _sample(values[..., None], hidden)[:, 0]
    middle = float(np.median(some))
    sides = [float(np.median(side)) for side in (middle - some[some <= middle], some[some >= middle] - middle)]
    return middle, 1.4826 * min(sides) + 1e-6


def _sample(values: NDArray[Any], hidden: Mask | None) -> NDArray[Any]:
    flat = values.reshape(-1, values.shape[-1])
    step = max(1, len(flat) // _SAMPLE)
    if hidden is None or hidden.all():
        return flat[::step]
    return flat[::step][~hidden.ravel()[::step]] if not hidden.ravel()[::step].all() else flat[~hidden.ravel()]
