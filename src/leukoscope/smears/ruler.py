"""The ruler: the field's own red cells say how many micrometres a pixel is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, grown, opened, reduced_mask
from leukoscope.cells.scale import PLAUSIBLE_UM_PER_PX, PixelSize
from leukoscope.smears.axis import stain_axis
from leukoscope.smears.redcells import STEP, RedCell, find_edges, vote
from leukoscope.smears.stain import density

RED_CELL_UM: Final = 7.5  # mean diameter of a red cell in a dried smear: 6.2 to 8.2 um is normal (Bain, "Blood Cells")
RED_CELL_SPREAD: Final = 0.06  # of it: between healthy people, 7.0 to 8.0 um or so; a disease may exceed it
LEAST_CELLS: Final = 3

_SEARCH_SIDE = 400  # pixels: the longest side of the picture in which any size of circle is sought
_SEARCHED = 1600  # pixels: the middle in which it is sought first; red cells of larger fields would vanish when reduced
_SMALLEST, _LARGEST = 5.0, 0.22  # pixels; of the shorter side: radii
_FINE_RADIUS = 22.0  # pixels: the picture is reduced to this before cells are measured
_FINE = 1.45  # factor around the first radius
_BAND = 0.06  # of the diameter: width of the kernel that finds the commonest size
_KEEP = 0.25  # natural logarithm: sizes farther from the commonest are something else
_WINDOW = 1_500_000  # pixels: the middle of the reduced picture in which cells are measured, if it is larger
_TO_CHOOSE, _TO_MEASURE = 3.0, 1.5  # bins: spread of votes; the commonest of all sizes needs the finer ones
_MOST_PURPLE = 0.3  # of the picture: where more is purple, the red cells may be
_LEAST_PURPLE = 0.04  # in density: less is the camera's rounding, where the ground is smooth
_DRAWS = 400

Source = Literal["red cells", "given", "file", "training cells", "unknown"]


@dataclass(frozen=True, slots=True)
class Ruler:
    """The scale of a field.

    Attributes:
        um_per_px: micrometres per pixel; None where unknown.
        low: lower end of the 95 % interval; None where unknown, given or stated by the file.
        high: upper end likewise. From a bootstrap over the red cells of the field and the spread of mean red cell
            diameters between people, `RED_CELL_SPREAD`.
        source: where it comes from; `file`: the file states it and the red cells do not contradict.
        red_cells: how many red cells were measured.
        red_cell_px: their median diameter in pixels of the picture; None where fewer than `LEAST_CELLS`.
        warnings: what speaks against the scale.
    """

    um_per_px: float | None
    low: float | None
    high: float | None
    source: Source
    red_cells: int
    red_cell_px: float | None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready values, rounded to what the interval bears."""
        return {
            "um_per_px": _rounded(self.um_per_px),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "source": self.source,
            "red_cells": self.red_cells,
            "red_cell_px": None if self.red_cell_px is None else round(self.red_cell_px, 1),
            "warnings": list(self.warnings),
        }


def find_red_cells(rgb: NDArray[np.uint8], hidden: Mask | None = None) -> list[RedCell]:
    """Red cells of a picture, of the commonest size alone.

    Any radius from 5 px to 0.22 of the shorter side is sought in a reduced picture first; around the size that covers
    most, cells are then sought and measured at a resolution of 22 px to the radius.

    Args:
        rgb: uint8 [H, W, 3].
        hidden: bool [H, W], what shows no smear, see `smears.seen`.

    Returns:
        Cells in pixels of ``rgb``; empty where none is found.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < 40:
        return []
    coarse = _coarse(_middle(rgb, _SEARCHED), None if hidden is None else _middle(hidden, _SEARCHED))
    if len(coarse) < LEAST_CELLS and max(height, width) > _SEARCHED:
        coarse = _coarse(rgb, hidden)
    if len(coarse) < LEAST_CELLS:
        return []
    radius = commonest(coarse) / 2  # in pixels of the picture
    fine = min(1.0, _FINE_RADIUS / radius)
    steps = np.arange(-np.log(_FINE), np.log(_FINE), np.log(STEP), dtype=np.float64)
    cells = _search(rgb, hidden, fine, np.asarray(fine * radius * np.exp(steps), np.float64), _TO_MEASURE)
    if len(cells) < LEAST_CELLS:
        return []
    middle = commonest(cells)
    return [cell for cell in cells if abs(np.log(cell.diameter / middle)) <= _KEEP]


def _coarse(rgb: NDArray[np.uint8], hidden: Mask | None) -> list[RedCell]:
    """Red cells of any size, in a picture reduced to `_SEARCH_SIDE`."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _SEARCH_SIDE / max(height, width))
    largest = _LARGEST * min(height, width) * scale
    count = int(np.log(largest / _SMALLEST) / np.log(STEP)) if largest > _SMALLEST else 0
    return _search(rgb, hidden, scale, _SMALLEST * STEP ** np.arange(max(count, 1)), _TO_CHOOSE)


def _middle(rgb: NDArray[Any], side: int) -> NDArray[Any]:
    """The middle of the picture, at most ``side`` pixels each way."""
    top, left = (max(0, (length - side) // 2) for length in rgb.shape[:2])
    return rgb[top : top + side, left : left + side]


def commonest(cells: Sequence[RedCell]) -> float:
    """The diameter around which most outline lies, by a Gaussian kernel over its logarithm."""
    size = np.log([cell.diameter for cell in cells])
    weight = np.array([cell.seen**2 * cell.diameter for cell in cells])
    support = (weight * np.exp(-0.5 * ((size[:, None] - size) / _BAND) ** 2)).sum(axis=1)
    return float(np.exp(size[int(np.argmax(support))]))


def read_ruler(
    rgb: NDArray[np.uint8],
    *,
    um_per_px: float | None = None,
    red_cell_um: float = RED_CELL_UM,
    hidden: Mask | None = None,
) -> tuple[Ruler, list[RedCell]]:
    """The scale of a field, with the red cells it was read from.

    Args:
        rgb: uint8 [H, W, 3].
        um_per_px: the scale where it is known: it then holds, and the red cells only check it.
        red_cell_um: mean diameter of a red cell, micrometres.
        hidden: bool [H, W], what shows no smear, see `smears.seen`.

    Raises:
        ValueError: a length is not positive.
    """
    if red_cell_um <= 0 or (um_per_px is not None and um_per_px <= 0):
        raise ValueError("micrometres must be positive")
    cells = find_red_cells(rgb, hidden)
    return ruler_of(cells, um_per_px=um_per_px, red_cell_um=red_cell_um), cells


def ruler_of(cells: Sequence[RedCell], *, um_per_px: float | None = None, red_cell_um: float = RED_CELL_UM) -> Ruler:
    """The scale that measured red cells give, or check."""
    sizes = np.array([cell.diameter for cell in cells])
    enough = len(sizes) >= LEAST_CELLS
    weights = np.array([cell.seen**2 for cell in cells])
    median = float(weighted_median(sizes, weights)) if enough else None
    if um_per_px is not None:
        return Ruler(um_per_px, None, None, "given", len(sizes), median, _against(um_per_px, median, red_cell_um))
    if median is None:
        some = "red cell was" if len(sizes) == 1 else "red cells were"
        why = f"only {len(sizes)} {some} found" if len(sizes) else "no red cell was found"
        return Ruler(None, None, None, "unknown", len(sizes), None, (f"scale unknown: {why}",))
    random = np.random.default_rng(0)
    picks = random.integers(len(sizes), size=(_DRAWS, len(sizes)))
    draws = np.array([weighted_median(sizes[pick], weights[pick]) for pick in picks])
    people = np.exp(random.normal(0, RED_CELL_SPREAD, _DRAWS))
    low, high = (float(end) for end in np.quantile(red_cell_um * people / draws, (0.025, 0.975)))
    value = red_cell_um / median
    return Ruler(value, min(low, value), max(high, value), "red cells", len(sizes), median, _bounds(value))


def stated_ruler(stated: PixelSize, cells: Sequence[RedCell], *, red_cell_um: float = RED_CELL_UM) -> Ruler:
    """The scale that a file states, unless the red cells contradict it: then theirs, and it is said.

    A tag may be left from another objective; red cells off by a third are no patient's.
    """
    size = stated.um_per_px
    ruler = ruler_of(cells, um_per_px=size, red_cell_um=red_cell_um)
    if not ruler.warnings:
        return replace(ruler, source="file")
    measured = ruler_of(cells, red_cell_um=red_cell_um)
    assert measured.red_cell_px is not None
    why = (
        f"the file states {size:.4g} um per pixel ({stated.source}), at which the red cells would have "
        f"{measured.red_cell_px * size:.1f} um, not about {red_cell_um:g}: the red cells' scale is used instead"
    )
    return replace(measured, warnings=(*measured.warnings, why))


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The value in the middle of the weight.

    >>> weighted_median(np.array([1.0, 2.0, 9.0]), np.ones(3))
    2.0
    """
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    return float(np.interp(share[-1] / 2, share - weights[order] / 2, values[order]))


def _search(
    rgb: NDArray[np.uint8], hidden: Mask | None, scale: float, radii: NDArray[Any], least_spread: float
) -> list[RedCell]:
    height, width = rgb.shape[:2]
    side = min(1.0, math.sqrt(_WINDOW / (height * width * scale**2)))
    left, top = round(width * (1 - side) / 2), round(height * (1 - side) / 2)
    rgb = rgb[top : height - top, left : width - left]
    small = rgb if scale == 1 else cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    part = None if hidden is None else reduced_mask(hidden[top : height - top, left : width - left], small.shape)
    small = np.ascontiguousarray(small, np.uint8)
    stained = density(small, sigma=1.0, hidden=part)
    leave_out = purple_parts(stained.purple, stained.middle, stained.spread)
    if leave_out.mean() > _MOST_PURPLE:
        axis = stain_axis(small, (), sigma=1.0, hidden=part)
        if not axis.ordinary:
            stained = density(small, sigma=1.0, hidden=part, weights=axis.weights.tolist())
            leave_out = purple_parts(stained.purple, stained.middle, stained.spread)
    edges = find_edges(stained.red, leave_out if part is None else leave_out | grown(part, 3))
    if edges.contrast <= 0 or not len(edges.x):
        return []
    found = vote(edges, radii, least_spread)
    return [RedCell(left + c.x / scale, top + c.y / scale, c.diameter / scale, c.seen) for c in found]


def purple_parts(purple: NDArray[np.float32], middle: float, spread: float) -> Mask:
    """White cells and platelets with a margin, bool [H, W]: their edges are no red cell's."""
    return grown(opened(np.asarray(purple > middle + max(5 * spread, _LEAST_PURPLE)), 2), 4)


def _bounds(um_per_px: float) -> tuple[str, ...]:
    low, high = PLAUSIBLE_UM_PER_PX
    if low <= um_per_px <= high:
        return ()
    return (f"{um_per_px:.3g} um per pixel is not plausible for a microscope ({low} to {high})",)


def _against(um_per_px: float, median: float | None, red_cell_um: float) -> tuple[str, ...]:
    found = _bounds(um_per_px)
    if median is not None and not 0.75 <= median * um_per_px / red_cell_um <= 1.33:
        why = (
            f"at the given {um_per_px:.4g} um per pixel the red cells would have {median * um_per_px:.1f} um, not "
            f"about {red_cell_um:g}: the scale or the magnification is wrong, or the red cells are abnormal"
        )
        return (*found, why)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
