"""The same cell in another laboratory: re-stained, re-scaled, photographed again, cut out by another segmentation.

Each change is a function of one cell on black and a generator that draws what is random in it; black stays black unless
the outline itself changes. What is outside a cell is not known, so a changed outline takes in ground of an assumed
light, or leaves a part of the cell out. Re-staining draws a matrix in optical density: dyes are mixed a little
differently (after Tellez et al. 2018, "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference
to train distilled stain-invariant convolutional networks", IEEE Trans. Med. Imaging 37, who draw factors of the dyes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import NEAR_BLACK, cell_mask

Picture = NDArray[np.uint8]
Family = Literal["stain", "scale", "light", "sharpness", "outline"]
_FLOOR: Final = NEAR_BLACK + 2  # a cell's own dark pixels stay above the surround
_GROUND: Final = (228, 218, 222)  # of a smear's plasma, assumed
_RED_CELL: Final = (196, 150, 160)  # assumed
_ROOM: Final = 40  # pixels around the picture, so that what grows stays inside


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a cell.

    Attributes:
        name: with its strength.
        family: what of the laboratory it stands for.
        apply: picture uint8 [H, W, 3] on black, generator -> the same kind of picture.
    """

    name: str
    family: Family
    apply: Callable[[Picture, np.random.Generator], Picture]


def restained(rgb: Picture, matrix: NDArray[np.float64]) -> Picture:
    """Density of each pixel of the cell times a matrix.

    Args:
        rgb: one cell on black.
        matrix: float64 [3, 3]: new densities as mixtures of the old, rows are the new red, green and blue.
    """
    density = -np.log10((rgb.astype(np.float64) + 1) / 256)
    return _within(rgb, 256 * 10 ** -(density @ matrix.T) - 1)


def stain_matrix(strength: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Identity plus noise, uniform in +-strength, float64 [3, 3]; off the diagonal a third of it."""
    noise = rng.uniform(-strength, strength, (3, 3))
    return np.eye(3) + noise * np.where(np.eye(3) > 0, 1.0, 1 / 3)


def rescaled(rgb: Picture, factor: float) -> Picture:
    """The whole picture resized: the scale was taken to be ``factor`` times too large."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=how), np.uint8)


def lit(rgb: Picture, gain: tuple[float, float, float] = (1, 1, 1), gamma: float = 1.0) -> Picture:
    """Another exposure, white balance or tone curve: ``255 (gain x / 255)^gamma``."""
    return _within(rgb, 255 * np.clip(rgb / 255 * np.array(gain), 0, 1) ** gamma)


def blurred(rgb: Picture, sigma: float) -> Picture:
    """Out of focus by a Gaussian of ``sigma`` pixels, without looking beyond the cell."""
    mask = cell_mask(rgb).astype(np.float32)
    total = cv2.GaussianBlur(rgb.astype(np.float32) * mask[..., None], (0, 0), sigma)
    share = cv2.GaussianBlur(mask, (0, 0), sigma)
    return _within(rgb, total / np.maximum(share, 1e-3)[..., None])


def noisy(rgb: Picture, spread: float, rng: np.random.Generator) -> Picture:
    """Independent normal noise of ``spread`` levels on each value."""
    return _within(rgb, rgb + rng.normal(0, spread, rgb.shape))


def as_jpeg(rgb: Picture, quality: int) -> Picture:
    """Written and read as JPEG."""
    done, content = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    found = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert found is not None
    return _within(rgb, cv2.cvtColor(found, cv2.COLOR_BGR2RGB).astype(np.float64))


def eroded(rgb: Picture, pixels: int) -> Picture:
    """Cut out too tightly: a rim of ``pixels`` is lost."""
    mask = np.pad(cell_mask(rgb).view(np.uint8), 1)
    away = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.where((away > pixels)[..., None], rgb, 0).astype(np.uint8)


def dilated(rgb: Picture, pixels: int) -> Picture:
    """Cut out too widely: a rim of ``pixels`` of ground comes with the cell."""
    wide = _roomy(rgb)
    mask = cell_mask(wide)
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask[..., None], wide, np.where((away <= pixels)[..., None], _GROUND, 0)).astype(np.uint8)


def nicked(rgb: Picture, rng: np.random.Generator, share: float = 0.3) -> Picture:
    """A disc of ``share`` of the cell's radius, centred on the outline at a random place, is lost."""
    mask = cell_mask(rgb)
    (x, y), radius = _on_outline(mask, rng)
    row, column = np.indices(mask.shape)
    return np.where((np.hypot(column - x, row - y) > share * radius)[..., None], rgb, 0).astype(np.uint8)


def scrapped(rgb: Picture, rng: np.random.Generator, share: float = 0.45) -> Picture:
    """A scrap of a red cell hangs on the outline: a disc of ``share`` of the cell's radius at a random place."""
    wide = _roomy(rgb)
    mask = cell_mask(wide)
    (x, y), radius = _on_outline(mask, rng)
    scrap = np.zeros(mask.shape, np.uint8)
    cv2.circle(scrap, (round(x), round(y)), max(1, round(share * radius)), (1,), -1)
    return np.where(mask[..., None], wide, np.where(scrap[..., None] > 0, _RED_CELL, 0)).astype(np.uint8)


CHANGES: Final = (
    Change("stain strength x 0.8", "stain", lambda rgb, _: restained(rgb, 0.8 * np.eye(3))),
    Change("stain strength x 1.25", "stain", lambda rgb, _: restained(rgb, 1.25 * np.eye(3))),
    Change("stain matrix +-0.1", "stain", lambda rgb, rng: restained(rgb, stain_matrix(0.1, rng))),
    Change("stain matrix +-0.2", "stain", lambda rgb, rng: restained(rgb, stain_matrix(0.2, rng))),
    Change("scale x 0.85", "scale", lambda rgb, _: rescaled(rgb, 0.85)),
    Change("scale x 1.15", "scale", lambda rgb, _: rescaled(rgb, 1.15)),
    Change("gain x 0.85", "light", lambda rgb, _: lit(rgb, (0.85, 0.85, 0.85))),
    Change("gain x 1.15", "light", lambda rgb, _: lit(rgb, (1.15, 1.15, 1.15))),
    Change("white balance, red x 1.1, blue x 0.9", "light", lambda rgb, _: lit(rgb, (1.1, 1.0, 0.9))),
    Change("gamma 0.8", "light", lambda rgb, _: lit(rgb, gamma=0.8)),
    Change("gamma 1.25", "light", lambda rgb, _: lit(rgb, gamma=1.25)),
    Change("blur 1 px", "sharpness", lambda rgb, _: blurred(rgb, 1.0)),
    Change("blur 2 px", "sharpness", lambda rgb, _: blurred(rgb, 2.0)),
    Change("noise of 6 levels", "sharpness", lambda rgb, rng: noisy(rgb, 6.0, rng)),
    Change("JPEG quality 70", "sharpness", lambda rgb, _: as_jpeg(rgb, 70)),
    Change("JPEG quality 40", "sharpness", lambda rgb, _: as_jpeg(rgb, 40)),
    Change("outline 4 px too tight", "outline", lambda rgb, _: eroded(rgb, 4)),
    Change("outline 4 px too wide", "outline", lambda rgb, _: dilated(rgb, 4)),
    Change("outline nicked", "outline", nicked),
    Change("scrap of a red cell", "outline", scrapped),
)


def _within(rgb: Picture, values: NDArray[np.floating]) -> Picture:
    """New levels inside the cell, above the surround's; black outside."""
    mask = cell_mask(rgb)
    return np.where(mask[..., None], np.clip(np.rint(values), _FLOOR, 255), 0).astype(np.uint8)


def _roomy(rgb: Picture) -> Picture:
    return np.pad(rgb, ((_ROOM, _ROOM), (_ROOM, _ROOM), (0, 0)))


def _on_outline(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """A random point of the outline, and the radius of the disc of the mask's area."""
    lines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    line = max(lines, key=len)[:, 0]
    x, y = line[int(rng.integers(len(line)))]
    return (float(x), float(y)), float(np.sqrt(mask.sum() / np.pi))
