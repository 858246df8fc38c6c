"""Light and stain of a field brought towards those of the training cells, in optical density.

After the ground's light has become the reference's, mean and standard deviation of each colour's density over the
field's white cells become the reference's too (`reinhard`: Reinhard et al. 2001, "Color transfer between images", IEEE
CGA 21; in density instead of l-alpha-beta). Light alone, and Macenko's two dyes, were measured and paid less
(docs/robustness.md).

A field may show two cells, and then their own nature and its stain cannot be told apart. What is estimated of a field
is therefore mixed with the reference, n cells against `PRIOR_CELLS`: few cells are changed less. C-NMC 2019 shows no
bare ground, so the reference's light is nominal white, an assumption.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.smears.stain import ground_light
from leukoscope.smears.whitecells import WhiteCell

Normalisation = Literal["none", "reinhard"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = ("none", "reinhard")
PRIOR_CELLS: Final = 2.0
REFERENCE_FILE: Final = "reference_cnmc2019.json"
_WHITE: Final = 255.0  # the light that the reference's densities are relative to
_MOST_PIXELS: Final = 20_000  # of a field that statistics are taken of

Array = NDArray[np.float64]
Colour = tuple[float, float, float]  # red, green, blue
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class StainStatistics:
    """Colours of white cells, in density.

    Attributes:
        ground: light of bare ground, RGB levels.
        mean: of density, red, green, blue.
        spread: its standard deviation.
    """

    ground: Colour
    mean: Colour
    spread: Colour

    def mixed(self, other: Self, share: float) -> Self:
        """``share`` of this one and the rest of another; the ground stays."""

        def mix(a: Colour, b: Colour) -> Array:
            return share * np.asarray(a, np.float64) + (1 - share) * np.asarray(b, np.float64)

        return type(self)(self.ground, _triple(mix(self.mean, other.mean)), _triple(mix(self.spread, other.spread)))


@dataclass(frozen=True, slots=True)
class StainReference:
    """Statistics of the training cells, and where they come from."""

    statistics: StainStatistics
    data: str
    cells: int
    command: str

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


def read_reference() -> StainReference:
    """The reference that comes with the package: cells of C-NMC 2019."""
    text = (resources.files("leukoscope.smears") / REFERENCE_FILE).read_text(encoding="utf-8")
    found = json.loads(text)
    facts = {key: tuple(value) for key, value in found.pop("statistics").items()}
    return StainReference(StainStatistics(**facts), **found)


def normaliser(
    rgb: NDArray[np.uint8], cells: Sequence[WhiteCell], method: Normalisation, reference: StainReference
) -> Change:
    """The change that brings the pixels of a field towards the reference.

    Args:
        rgb: uint8 [H, W, 3], the field.
        cells: its white cells; those cut or smudged count too, as their stain is the same.
        method: see the module.
        reference: from `read_reference`.

    Returns:
        uint8 [..., 3] of the field -> uint8 [..., 3].

    Raises:
        ValueError: there is no such method.
    """
    if method not in NORMALISATIONS:
        raise ValueError(f"no normalisation {method!r}: one of {', '.join(NORMALISATIONS)}")
    target = reference.statistics
    ground = ground_light(rgb)
    if method == "none" or not cells:
        return lambda part: part
    pixels = np.concatenate([_pixels(rgb, cell) for cell in cells])
    step = max(1, len(pixels) // _MOST_PIXELS)
    # The reference's light is that of its own ground seen as white: the same glass is empty in both.
    light = (ground + 1) / (np.array(target.ground) + 1) * (_WHITE + 1) - 1
    own = stain_statistics(pixels[::step], light, ground=ground)
    own = own.mixed(target, len(cells) / (len(cells) + PRIOR_CELLS))
    gain = np.array(target.spread) / np.array(own.spread)

    def change(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        density = (_density(part, light) - own.mean) * gain + target.mean
        return _levels((_WHITE + 1) * 10**-density - 1)

    return change


def stain_statistics(pixels: NDArray[np.uint8], light: Array | float = _WHITE, *, ground: Array) -> StainStatistics:
    """Statistics of the pixels of white cells.

    Args:
        pixels: uint8 [N, 3].
        light: level or RGB levels that density 0 stands for.
        ground: light of bare ground, to be kept beside the rest.
    """
    density = _density(pixels, light)
    return StainStatistics(_triple(ground), _triple(density.mean(axis=0)), _triple(density.std(axis=0) + 1e-3))


def _pixels(rgb: NDArray[np.uint8], cell: WhiteCell) -> NDArray[np.uint8]:
    x, y, width, height = cell.box
    part = rgb[y : y + height, x : x + width]
    return part[cell.mask()[: part.shape[0], : part.shape[1]]]


def _density(levels: NDArray[np.uint8], light: Array | float) -> Array:
    return np.asarray(-np.log10((levels.astype(np.float64) + 1) / (np.asarray(light) + 1)))


def _levels(values: Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _triple(values: Array) -> Colour:
    red, green, blue = (round(float(value), 5) for value in values)
    return red, green, blue
