"""The field's own stain axis, where the usual one does not part nuclei from red cells.

Haemoglobin takes blue light at least as strongly as green, so ``R + G - 2 B`` is near 0 for red cells, and nuclei are
what rises above. With much azure in the red cells, another buffer or a phone's camera, red cells rise too, and nothing
is beyond doubt any more. The field itself then says what a nucleus is: the darkest mass in green light, and the
direction of density that parts it best from ground and red cells (Fisher's linear discriminant, 1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask
from leukoscope.cells.stain import otsu_levels
from leukoscope.smears.redcells import RedCell
from leukoscope.smears.stain import AZURE, absorbed, ground_light

_ORDINARY: Final = 0.05  # in density along the usual axis: red cells of ordinary stains stay below (bccd: 0.02)
_LEAST_RED = 3  # red cells: with fewer, the middle one of three classes of the picture stands for them
_DISC = 0.3  # of a red cell's diameter: radius about its middle that its colour is taken from
_DARKER = 1.5  # of the red cells' density in green: nuclei have more than twice
_SAME = 0.99  # cosine between two colours in density: red cells that lie on one another are nearer, nuclei are not
_PILED = 1.0  # of the red cells' density squared: variance along their colour, for cells that lie on one another
_NOISE = 1e-4  # variance of a density: the camera's
_HALF = 0.6  # of the nuclei's height: where the second look begins
_SAMPLE = 60_000  # pixels
_FEWEST = 30  # pixels
_TOLD_APART: Final = 18.0  # spreads between nuclei and the rest: less is doubtful (benchmarks/fields.py --parts stains)


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """A direction of optical density along which white cells are sought.

    Attributes:
        weights: float64 [3], of R, G and B, of the same length as the usual ones.
        ordinary: whether they are the usual ones: red cells are no darker along them than the ground.
        apart: standard deviations of ground and red cells by which the nuclei are above them; None where it is ordinary
            or the field shows nothing darker than red cells.
    """

    weights: NDArray[np.float64]
    ordinary: bool
    apart: float | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know, in a sentence; empty where the axis can be relied on."""
        if self.ordinary or (self.apart is not None and self.apart >= _TOLD_APART):
            return ()
        return (UNUSUAL,)


UNUSUAL: Final = (
    "unusual stain: its red cells are purple themselves and nuclei stand out little from them, so white cells may be "
    "missed or wrongly outlined"
)


def stain_axis(
    rgb: NDArray[np.uint8], red_cells: Sequence[RedCell], *, sigma: float, hidden: Mask | None = None
) -> Axis:
    """The axis to look along: the usual one if the red cells lie on the ground's side of it, else the field's own.

    Args:
        rgb: uint8 [H, W, 3].
        red_cells: of this picture, in its pixels.
        sigma: width of the Gaussian over the light, pixels.
        hidden: bool [H, W], what shows no smear, see `smears.seen`.
    """
    usual = Axis(np.array(AZURE, np.float64), ordinary=True)
    layers = absorbed(rgb, ground_light(rgb, hidden), sigma)
    density = np.stack(layers, axis=-1)
    shown = density[~hidden] if hidden is not None and not hidden.all() else density.reshape(-1, 3)
    some = np.asarray(shown[:: max(1, len(shown) // _SAMPLE)], np.float64)
    red = _red_colour(density, red_cells) if len(red_cells) >= _LEAST_RED else _middle_class(some)
    if red is None or red @ usual.weights <= _ORDINARY:
        return usual
    return _discriminant(some, red) or Axis(_without(usual.weights, red), ordinary=False)


def _without(weights: NDArray[np.float64], red: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a direction across the red cells' colour, of the same length."""
    across = weights - (weights @ red) / (red @ red) * red
    return np.asarray(across * np.linalg.norm(weights) / max(float(np.linalg.norm(across)), 1e-9), np.float64)


def _red_colour(density: NDArray[np.float32], red_cells: Sequence[RedCell]) -> NDArray[np.float64] | None:
    """Median over the red cells of the density about their middles, float64 [3]."""
    colours = []
    for cell in red_cells:
        radius, x, y = max(1, int(_DISC * cell.diameter)), int(cell.x), int(cell.y)
        part = density[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        if part.size:
            colours.append(np.median(part.reshape(-1, 3), axis=0))
    return np.asarray(np.median(colours, axis=0), np.float64) if colours else None


def _middle_class(some: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Median of the middle one of three classes of density: neither ground nor nuclei."""
    height = (some[:, 1] + some[:, 2]).astype(np.float32)
    low, high = otsu_levels(height, 3)
    middle = some[(height > low) & (height <= high)]
    return np.asarray(np.median(middle, axis=0), np.float64) if len(middle) else None


def _discriminant(some: NDArray[np.float64], red: NDArray[np.float64]) -> Axis | None:
    """Fisher's direction between what is darkest in green and the rest, sought twice; None where nothing is darker."""
    (_, level) = otsu_levels(some[:, 1].astype(np.float32), 3)
    nuclei = some[:, 1] > max(level, _DARKER * red[1])
    axis = None
    for _ in range(2):
        if min(np.count_nonzero(nuclei), np.count_nonzero(~nuclei)) < _FEWEST:
            return axis
        dark = np.median(some[nuclei], axis=0)
        if dark @ red > _SAME * np.linalg.norm(dark) * np.linalg.norm(red):
            return axis
        rest, middle = some[~nuclei], np.median(some[~nuclei], axis=0)
        within = np.cov(rest.T) + _PILED * np.outer(red, red) + _NOISE * np.eye(3)
        weights = np.linalg.solve(within, dark - middle)
        weights *= np.linalg.norm(AZURE) / np.linalg.norm(weights)
        height = (some - middle) @ weights
        of_rest, top = height[~nuclei], float(np.median(height[nuclei]))
        spread = 1.4826 * float(np.median(np.abs(of_rest - np.median(of_rest)))) + 1e-6
        axis = Axis(np.asarray(weights, np.float64), ordinary=False, apart=float(top - np.median(of_rest)) / spread)
        beyond = height[height > 3 * of_rest.std()]
        level = otsu_levels(beyond.astype(np.float32))[0] if len(beyond) > _FEWEST else np.inf
        nuclei = height > min(level, _HALF * top)
    return axis
