"""Cells of the training set put onto real fields of other laboratories, and found again there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.errors import DataError, PictureError
from leukoscope.evaluation.consistency_changes import stain_matrix
from leukoscope.fields import STANDARD_UM_PER_PX, Finding, WhiteCell, find_cells, standard_cell
from leukoscope.fields.density import ground_light
from leukoscope.fields.normalise import NORMALISATIONS, Normalisation, StainReference, normaliser

Picture = NDArray[np.uint8]
_CLEAR_UM: Final = 9.0  # from the middle of the place to the next white cell and to the picture's edge
_STEP: Final = 16  # pixels: grid of places tried


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A field of another laboratory with room for one more cell.

    Attributes:
        name: of its set and its file.
        rgb: uint8 [H, W, 3].
        um_per_px: by its own red cells.
        place: x and y, the middle of the room.
    """

    name: str
    rgb: Picture
    um_per_px: float
    place: tuple[float, float]


def backgrounds(data: Path, count: int, seed: int = 0) -> dict[str, list[Background]]:
    """Up to ``count`` fields of `bccd`, and crops of `pbc` around a platelet, which the cell then covers.

    Raises:
        DataError: one of the sets gives none.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[Background]] = {}
    for name, folder in (("bccd", data / "bccd" / "JPEGImages"), ("pbc", data / "pbc" / "platelet")):
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".png"})
        kept = found[name] = []
        for path in (paths[i] for i in rng.permutation(len(paths))):
            if len(kept) == count:
                break
            made = _background(f"{name}/{path.name}", read_picture(path).rgb, middle=name == "pbc")
            if made is not None:
                kept.append(made)
        if not kept:
            raise DataError("holds no field with red cells and room for a cell", path=folder)
    return found


def composed(cell: Picture, background: Background, light: Sequence[float]) -> Picture:
    """A cell put onto a field at its scale and under its light.

    Args:
        cell: one cell on black at the standard scale, uint8 [h, w, 3].
        background: where to.
        light: of the ground that the cell was photographed under, RGB levels.

    Returns:
        uint8 [H, W, 3].
    """
    mask = cell_mask(cell)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    factor = STANDARD_UM_PER_PX / background.um_per_px
    size = (max(4, round(width * factor)), max(4, round(height * factor)))
    # Black would bleed into the rim when the cell is made smaller: the mean is taken over the cell alone.
    share = cv2.resize(mask[window].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(cell[window] * mask[window][..., None].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    levels = total / np.maximum(share, 1e-3)[..., None]
    levels = (levels + 1) * (ground_light(background.rgb) + 1) / (np.asarray(light) + 1) - 1
    alpha = cv2.GaussianBlur(share, (0, 0), 0.7)[..., None] * (share > 0)[..., None]
    x, y = (round(at - side / 2) for at, side in zip(background.place, size, strict=True))
    out = background.rgb.copy()
    x, y = max(0, min(x, out.shape[1] - size[0])), max(0, min(y, out.shape[0] - size[1]))
    part = out[y : y + size[1], x : x + size[0]]
    part[:] = np.clip(np.rint(alpha * levels + (1 - alpha) * part), 0, 255)
    return out


def other_stain(rgb: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """A whole field under another stain and white balance: a drawn matrix in density, and drawn gains of +-10 %."""
    ground = ground_light(rgb)
    density = -np.log10((rgb.astype(np.float64) + 1) / (ground + 1))
    light = (ground + 1) * rng.uniform(0.9, 1.1, 3)
    values = light * 10 ** -(density @ stain_matrix(strength, rng).T) - 1
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def cell_at(finding: Finding, place: tuple[float, float]) -> WhiteCell | None:
    """The whole cell that a point lies in; None where none does."""
    for cell in finding.cells:
        inside = cv2.pointPolygonTest(cell.outline.astype(np.float32), place, measureDist=False) >= 0
        if inside and cell.state == "whole":
            return cell
    return None


def cut_again(
    rgb: Picture, place: tuple[float, float], reference: StainReference, standard: float = STANDARD_UM_PER_PX
) -> dict[Normalisation, Picture]:
    """The cell at a place of a field, found by our own segmentation, at the standard scale, normalised in each way.

    Empty where the field has no scale or no whole cell there.
    """
    try:
        finding = find_cells(rgb)
    except PictureError:
        return {}
    cell = cell_at(finding, place)
    scale = finding.ruler.um_per_px
    if cell is None or scale is None:
        return {}
    return {name: made for name, made in each_normalised(rgb, finding, cell, scale, reference, standard)}  # noqa: C416


def each_normalised(
    rgb: Picture, finding: Finding, cell: WhiteCell, scale: float, reference: StainReference, standard: float
) -> Iterator[tuple[Normalisation, Picture]]:
    """Each normalisation and the cell at the standard scale under it."""
    x, y, width, height = cell.box
    window = np.s_[y : y + height, x : x + width]
    for name in NORMALISATIONS:
        changed = rgb.copy()
        changed[window] = normaliser(rgb, finding.cells, name, reference)(rgb[window])
        yield name, standard_cell(changed, cell, scale, standard=standard)


def _background(name: str, rgb: Picture, *, middle: bool) -> Background | None:
    try:
        finding = find_cells(rgb)
    except PictureError:
        return None
    scale = finding.ruler.um_per_px
    if scale is None:
        return None
    height, width = rgb.shape[:2]
    clear = _CLEAR_UM / scale
    if middle:  # the cell will cover what is small in the middle; all else must keep its distance
        place = (width / 2, height / 2)
        others = [cell for cell in finding.cells if np.hypot(*np.subtract(cell.centre, place)) > 0.3 * clear]
        free = _room(others, place)
        return Background(name, rgb, scale, place) if free > clear and len(finding.cells) - len(others) <= 1 else None
    best, at = clear, None
    for y in np.arange(clear, height - clear, _STEP):
        for x in np.arange(clear, width - clear, _STEP):
            free = _room(finding.cells, (float(x), float(y)))
            if free > best:
                best, at = free, (float(x), float(y))
    return None if at is None else Background(name, rgb, scale, at)


def _room(cells: Sequence[WhiteCell], place: tuple[float, float]) -> float:
    """Pixels from a place to the nearest outline; negative inside one, infinite without cells."""
    return min(
        (-float(cv2.pointPolygonTest(cell.outline.astype(np.float32), place, measureDist=True)) for cell in cells),
        default=float("inf"),
    )
