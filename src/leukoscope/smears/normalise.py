"""Light and stain of a field brought towards those of the training cells, in optical density.

- `balance`: the ground's light becomes the reference's; bare glass is the white that cameras disagree about.
- `reinhard`: after it, mean and standard deviation of each colour's density over the field's white cells become the
  reference's (Reinhard et al. 2001, "Color transfer between images", IEEE CGA 21; in density instead of l-alpha-beta).
- `macenko`: the two dyes' density vectors and their strengths become the reference's (Macenko et al. 2009, "A method
  for normalizing histology slides for quantitative analysis", ISBI), estimated on the field's white cells.

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

Normalisation = Literal["none", "balance", "reinhard", "macenko"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = ("none", "balance", "reinhard", "macenko")
PRIOR_CELLS: Final = 2.0
REFERENCE_FILE: Final = "reference_cnmc2019.json"
_WHITE: Final = 255.0  # the light that the reference's densities are relative to
_STAINED: Final = 0.15  # density, as Macenko et al.
_PERCENT: Final = 1.0  # of angles left out at either end, as Macenko et al.
_MOST_PIXELS: Final = 20_000  # of a field that statistics are taken of

Array = NDArray[np.float64]
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class StainStatistics:
    """Colours of white cells, in density.

    Attributes:
        ground: light of bare ground, RGB levels.
        mean: of density, red, green, blue.
        spread: its standard deviation.
        dyes: density vectors of the two dyes, unit length, the bluer one first.
        strengths: of each dye, 99 % quantile.
    """

    ground: tuple[float, float, float]
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    dyes: tuple[tuple[float, float, float], tuple[float, float, float]]
    strengths: tuple[float, float]

    def mixed(self, other: Self, share: float) -> Self:
        """``share`` of this one and the rest of another; the ground stays."""

        def mix(a: Any, b: Any) -> Array:
            return share * np.asarray(a, np.float64) + (1 - share) * np.asarray(b, np.float64)

        dyes = mix(self.dyes, other.dyes)
        dyes /= np.linalg.norm(dyes, axis=1, keepdims=True)
        return type(self)(
            self.ground,
            _triple(mix(self.mean, other.mean)),
            _triple(mix(self.spread, other.spread)),
            (_triple(dyes[0]), _triple(dyes[1])),
            (float(mix(self.strengths, other.strengths)[0]), float(mix(self.strengths, other.strengths)[1])),
        )


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
    facts = {key: _nested(value) for key, value in found.pop("statistics").items()}
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
    if method == "none" or (method != "balance" and not cells):
        return lambda part: part
    if method == "balance":
        gain = (np.array(target.ground) + 1) / (ground + 1)
        return lambda part: _levels((part.astype(np.float64) + 1) * gain - 1)
    pixels = np.concatenate([_pixels(rgb, cell) for cell in cells])
    step = max(1, len(pixels) // _MOST_PIXELS)
    # The reference's light is that of its own ground seen as white: the same glass is empty in both.
    light = (ground + 1) / (np.array(target.ground) + 1) * (_WHITE + 1) - 1
    own = stain_statistics(pixels[::step], light, ground=ground, fallback=target)
    own = own.mixed(target, len(cells) / (len(cells) + PRIOR_CELLS))
    change = _reinhard(own, target) if method == "reinhard" else _macenko(own, target)
    return lambda part: _levels((_WHITE + 1) * 10 ** -change(_density(part, light)) - 1)


def stain_statistics(
    pixels: NDArray[np.uint8],
    light: Array | float = _WHITE,
    *,
    ground: Array,
    fallback: StainStatistics | None = None,
) -> StainStatistics:
    """Statistics of the pixels of white cells.

    Args:
        pixels: uint8 [N, 3].
        light: level or RGB levels that density 0 stands for.
        ground: light of bare ground, to be kept beside the rest.
        fallback: whose dyes are taken where the pixels do not tell two; None: an error.

    Raises:
        ValueError: the pixels do not tell two dyes apart, and there is no fallback.
    """
    density = _density(pixels, light)
    dyes = _dyes(density)
    if dyes is None:
        if fallback is None:
            raise ValueError("the pixels do not tell two dyes apart")
        dyes = np.array(fallback.dyes)
    amounts = density @ np.linalg.pinv(dyes)
    strong = np.quantile(amounts, 0.99, axis=0)
    strong = np.maximum(strong, 1e-3)
    return StainStatistics(
        _triple(ground), _triple(density.mean(axis=0)), _triple(density.std(axis=0) + 1e-3),
        (_triple(dyes[0]), _triple(dyes[1])), (float(strong[0]), float(strong[1])),
    )  # fmt: skip


def _dyes(density: Array) -> Array | None:
    """Density vectors at the ends of the range of directions in the plane of most variance, [2, 3]; None if too few."""
    stained = density[(density > _STAINED).any(axis=1)]
    if len(stained) < 50:
        return None
    _, vectors = np.linalg.eigh(np.cov(stained.T))
    plane = vectors[:, [2, 1]]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    flat = stained @ plane
    angle = np.arctan2(flat[:, 1], flat[:, 0])
    ends = np.quantile(angle, (_PERCENT / 100, 1 - _PERCENT / 100))
    found = np.stack([plane @ (np.cos(end), np.sin(end)) for end in ends])
    found = np.maximum(found, 0)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    if (length < 1e-6).any() or float(found[0] @ found[1] / (length[0] * length[1])[0]) > 0.9995:
        return None
    found /= length
    order = np.argsort(found[:, 2] - found[:, 0])  # a dye that looks blue takes red light and lets blue pass
    return np.asarray(found[order], np.float64)


def _reinhard(own: StainStatistics, target: StainStatistics) -> Callable[[Array], Array]:
    gain = np.array(target.spread) / np.array(own.spread)
    return lambda density: (density - own.mean) * gain + target.mean


def _macenko(own: StainStatistics, target: StainStatistics) -> Callable[[Array], Array]:
    """Amounts of the field's dyes become amounts of the reference's; what no dye explains stays as it is."""
    dyes, gain = np.array(own.dyes), np.array(target.strengths) / np.array(own.strengths)
    inverse = np.linalg.pinv(dyes)

    def change(density: Array) -> Array:
        amounts = density @ inverse
        return np.asarray((amounts * gain) @ np.array(target.dyes) + (density - amounts @ dyes))

    return change


def _pixels(rgb: NDArray[np.uint8], cell: WhiteCell) -> NDArray[np.uint8]:
    x, y, width, height = cell.box
    part = rgb[y : y + height, x : x + width]
    return part[cell.mask()[: part.shape[0], : part.shape[1]]]


def _density(levels: NDArray[np.uint8], light: Array | float) -> Array:
    return np.asarray(-np.log10((levels.astype(np.float64) + 1) / (np.asarray(light) + 1)))


def _levels(values: Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _triple(values: Array) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 5) for value in values)
    return red, green, blue


def _nested(value: Any) -> Any:
    return tuple(_nested(item) for item in value) if isinstance(value, list) else value
