"""A stained lymphoid cell drawn from its traits: outline, rings of colour under it, bands of texture, camera.

For whoever tries the tool out: `synthetic.render_cell` is plainer, of one look for each kind, and what tests draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.look import BANDS, HARMONICS, MIDDLES, SCALES, ZONES, Floats, Traits, kin, measured_looks
from leukoscope.datasets.synthetic import Kind

FULL: Final = 450  # pixels of the frame in which all lengths are given
_ANGLES: Final = np.linspace(-np.pi, np.pi, 721)
_ZONE_MIDDLES: Final = (*((a + b) / 2 for a, b in pairwise(ZONES)), ZONES[-1] + 12.0)
_FALL: Final = 1.5  # the amplitude of a harmonic falls with this power of its order within its group
_SMOOTH: Final = 7  # harmonics, the second to the eighth, that are the cell's form; the others are its ragged edge
_MOST_BENT: Final = 1.0  # beyond, a band is nearly the square alone
_FAINTEST: Final = 12  # levels; what is darker in all channels would pass for surround


def draw_cell(seed: int, kind: Kind, *, size: int = FULL) -> NDArray[np.uint8]:
    """Draw a segmented lymphoid cell on black, stained as in C-NMC 2019, each of another person.

    Size, outline, colours, rim and texture of each kind are distributed as measured on real cells, and go together as
    they do there: kinds overlap, and nothing alone separates them. No model was asked. The same arguments give the same
    bytes.

    Args:
        seed: not negative.
        kind: "blast" or "normal".
        size: side in pixels; the cell is scaled with it.

    Returns:
        uint8 [size, size, 3], exactly 0 outside the cell.
    """
    look = measured_looks()[kind]
    rng = np.random.default_rng((seed, kind == "blast"))
    return draw(rng, look.cell(rng, kin(rng)), look.hues, size)


def draw_person(seed: int, kind: Kind, count: int, *, size: int = FULL) -> Iterator[NDArray[np.uint8]]:
    """Draw several cells of one person, who have in common what the cells of one person have.

    Args:
        seed: not negative; of the person.
        kind: "blast" or "normal".
        count: of cells.
        size: see `draw_cell`.

    Yields:
        uint8 [size, size, 3], exactly 0 outside the cell.
    """
    look = measured_looks()[kind]
    rng = np.random.default_rng((seed, kind == "blast", count))
    person = kin(rng)
    for _ in range(count):
        yield draw(rng, look.cell(rng, person), look.hues, size)


def draw(rng: np.random.Generator, traits: Traits, hues: Floats, size: int) -> NDArray[np.uint8]:
    """Draw one cell in the middle of a black square.

    Args:
        rng: source of all that the traits leave open: phases of the outline, places of the grains.
        traits: of the cell.
        hues: float [7, 3, 3], colours of each band of texture, as in `Look`.
        size: side of the square in pixels; the cell is scaled with it.

    Returns:
        uint8 [size, size, 3], exactly 0 outside the cell.
    """
    step = FULL / size
    edge = _outline(rng, traits)
    side = min(size, -(-(2 * int(np.ceil(edge.max() / step)) + 4) // 8) * 8)  # a length that suits the transform
    start = (size - side) // 2
    axis: Floats = (np.arange(start, start + side) + 0.5 - size / 2) * step
    inside = np.hypot(axis, axis[:, None]) < np.interp(np.arctan2(axis[:, None], axis), _ANGLES, edge)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    under = step * cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    level = np.stack([np.interp(under, MIDDLES, traits.rings[:, c]) for c in range(3)], axis=-1)
    colour = np.exp(traits.colour + level) * np.maximum(1 + _texture(rng, traits, hues, under, step), 0.05)
    seen = np.clip(np.rint(colour), 0, 255)
    brightest = seen.argmax(axis=2)[..., None]
    np.put_along_axis(seen, brightest, np.maximum(np.take_along_axis(seen, brightest, 2), _FAINTEST), 2)
    picture = np.zeros((size, size, 3), np.uint8)
    picture[start : start + side, start : start + side] = seen * inside[..., None]
    return picture


def _outline(rng: np.random.Generator, traits: Traits) -> Floats:
    """Radius of the cell at each of `_ANGLES`: a Fourier series whose amplitudes are those of the traits."""
    order = np.arange(2, HARMONICS[-1][1] + 1)
    heights = np.empty(order.size)
    for (first, last), height in zip(HARMONICS, traits.harmonics, strict=True):
        falling = np.arange(first, last + 1) ** -_FALL
        heights[first - 2 : last - 1] = np.exp(height) * falling / np.sqrt(np.mean(falling**2))
    waves = heights[:, None] * np.cos(order[:, None] * _ANGLES + rng.uniform(0, 2 * np.pi, order.size)[:, None])
    ragged = np.exp(
        rng.normal(0, 0.35, 3) @ np.cos(np.arange(1, 4)[:, None] * _ANGLES + rng.uniform(0, 2 * np.pi, 3)[:, None])
    )
    fine = waves[_SMOOTH:].sum(axis=0) * ragged / np.sqrt(np.mean(ragged**2))  # ragged here, smooth there
    shape = np.maximum(1 + waves[:_SMOOTH].sum(axis=0) + fine, 0.4)
    edge = shape * np.sqrt(np.exp(traits.area) / np.pi / np.mean(shape[:-1] ** 2))
    return np.asarray(edge * min(1.0, 0.48 * FULL / edge.max()))


def _texture(rng: np.random.Generator, traits: Traits, hues: Floats, under: Floats, step: float) -> Floats:
    """Relative change of R, G, B [side, side, 3]: bands of noise, each with its strength, colour and skewness.

    How strong a band is depends on how far ``under`` the outline [side, side] it lies.
    """
    side = len(under)
    white = np.fft.rfft2(rng.standard_normal((3, side, side)))
    square = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    passes = [np.ones_like(square), *(np.exp(-2 * (np.pi * scale / step) ** 2 * square) for scale in SCALES)]
    texture = np.zeros((side, side, 3))
    for band in range(BANDS):
        filtered = passes[band] - (passes[band + 1] if band + 1 < BANDS else 0)
        fields = np.fft.irfft2(white * filtered, s=(side, side)) / max(_deviation(filtered, side), 1e-9)
        fields[0] = _skewed(fields[0], filtered / filtered.max(), float(traits.skews[band]))
        strength = np.exp(np.interp(under, _ZONE_MIDDLES, traits.energies[:, band]) / 2)
        texture += strength[..., None] * np.moveaxis(np.tensordot(hues[band], fields, 1), 0, -1)
    return texture


def _deviation(filtered: Floats, side: int) -> float:
    """Standard deviation of white noise of variance 1 after a filter [side, side // 2 + 1] of real fields."""
    twice = np.full(filtered.shape[1], 2.0)
    twice[0] = 1
    if side % 2 == 0:
        twice[-1] = 1
    return float(np.sqrt((filtered**2 * twice).sum() / side**2))


def _skewed(field: Floats, passing: Floats, skewness: float) -> Floats:
    """A standard normal field bent to about a skewness: ``z + a (z^2 - 1)``, normalised.

    Of the square only what lies in the field's own band is taken, by the filter ``passing`` [side, side // 2 + 1], at
    most 1: what lies beside would be grain of the bands beside, which have their own strength and skewness.
    """
    bend = np.clip(skewness / 6, -_MOST_BENT, _MOST_BENT)  # skewness is 6 a for small a
    square = np.fft.irfft2(np.fft.rfft2(field**2 - 1) * passing, s=field.shape)
    return np.asarray((field + bend * square) / np.sqrt(1 + bend**2 * square.var()))
