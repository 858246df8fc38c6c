"""How the cells of one kind look, in numbers: what was measured on real ones, and a cell's traits drawn from it.

A cell is its outline, its mean colour, how its colour changes with the depth under the outline, and its texture, band
by band. The traits of one cell hang together (a large cell is paler), and so do the cells of one person: both are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.synthetic import Kind

Floats = NDArray[np.floating[Any]]

HARMONICS: Final = ((2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 40))  # of the outline: first and last of each group
DEPTHS: Final = (0, 1, 2, 3, 5, 8, 12, 17, 24, 34, 48)  # pixels under the outline: edges of the rings, the last is open
MIDDLES: Final = (*((a + b) / 2 for a, b in pairwise(DEPTHS)), DEPTHS[-1] + 10.0)  # where a ring's level holds
SCALES: Final = (0.8, 1.6, 3.2, 6.4, 12.8, 25.6)  # pixels: standard deviations between which the bands of texture lie
BANDS: Final = len(SCALES) + 1  # the first is finer than all scales, the last coarser
ZONES: Final = (1, 6, 14, 34)  # pixels under the outline from which the zones of texture reach: rim, two belts, middle
_PARTS: Final = (1, len(HARMONICS), 3, 3 * len(DEPTHS), len(ZONES) * BANDS, BANDS)
TRAITS: Final = sum(_PARTS)
SHARES: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # no cell is drawn outside of the outermost
_MOST_RAGGED: Final = NormalDist().inv_cdf(0.9)  # beyond, waves of random phases make leaves of a cell
_SCORES: Final = tuple(NormalDist().inv_cdf(share) for share in SHARES)


@dataclass(frozen=True, slots=True)
class Traits:
    """What one cell is drawn from; pixels are those of the 450-pixel frame of C-NMC 2019.

    Attributes:
        area: natural logarithm, of pixels.
        harmonics: [6] logarithms of the amplitude of the outline's harmonics, by group, relative to the radius.
        colour: [3] logarithms of the mean level of R, G, B.
        rings: [11, 3] logarithms of the level in each ring of depth over the mean.
        energies: [4, 7] logarithms of the variance of each band of texture in each of `ZONES`, relative to the level,
            mean of the channels.
        skews: [7] skewness of each band along its main colour.
    """

    area: float
    harmonics: Floats
    colour: Floats
    rings: Floats
    energies: Floats
    skews: Floats

    @classmethod
    def of(cls, row: Floats) -> Traits:
        """From one row of numbers [`TRAITS`]."""
        area, harmonics, colour, rings, energies, skews = np.split(row, np.cumsum(_PARTS)[:-1])
        return cls(float(area[0]), harmonics, colour, rings.reshape(-1, 3), energies.reshape(-1, BANDS), skews)

    def row(self) -> Floats:
        """As one row of numbers [`TRAITS`]."""
        arrays = (self.harmonics, self.colour, self.rings.ravel(), self.energies.ravel(), self.skews)
        return np.concatenate([[self.area], *arrays])


@dataclass(frozen=True, slots=True)
class Look:
    """How cells of one kind look.

    Attributes:
        quantiles: [`TRAITS`, 9] of each trait, at `SHARES`.
        factor: [`TRAITS`, `TRAITS`], lower triangle: Cholesky decomposition of the correlation of the traits' normal
            scores, so that traits that go together in cells do so here.
        kinship: share of the variance of the scores that lies between persons, 0 to 1.
        hues: [7, 3, 3] of each band, columns: how much R, G and B move with each of three independent fields, for a
            band whose variance is 1 in the mean of the channels; the first column is the main colour.
    """

    quantiles: Floats
    factor: Floats
    kinship: float
    hues: Floats

    def cell(self, rng: np.random.Generator, person: Floats) -> Traits:
        """Draw the traits of one cell of the person whose cells have the numbers ``person`` in common, see `kin`."""
        own = np.sqrt(self.kinship) * person + np.sqrt(1 - self.kinship) * rng.standard_normal(TRAITS)
        scores = self.factor @ own
        scores[1 : 1 + len(HARMONICS)] = np.minimum(scores[1 : 1 + len(HARMONICS)], _MOST_RAGGED)
        return Traits.of(
            np.array([np.interp(z, _SCORES, each) for z, each in zip(scores, self.quantiles, strict=True)])
        )


def kin(rng: np.random.Generator) -> Floats:
    """What the cells of one person have in common: `TRAITS` standard normal numbers."""
    return rng.standard_normal(TRAITS)


def look_from_json(value: Mapping[str, Any]) -> Look:
    """A look as `benchmarks/drawn.py` wrote it: the triangle of the factor row by row, in one list."""
    factor = np.zeros((TRAITS, TRAITS))
    factor[np.tril_indices(TRAITS)] = value["factor"]
    quantiles = np.array(value["quantiles"], float).reshape(TRAITS, len(SHARES))
    hues = np.array(value["hues"], float).reshape(BANDS, 3, 3)
    return Look(quantiles, factor, float(value["kinship"]), hues)


@cache
def measured_looks() -> Mapping[Kind, Look]:
    """The looks that the package ships, by kind: numbers measured on C-NMC 2019, no picture."""
    text = files("leukoscope.datasets").joinpath("look_cnmc2019.json").read_text(encoding="utf-8")
    return {kind: look_from_json(value) for kind, value in json.loads(text)["looks"].items()}
