"""Nuclei of white cells in a field: purple parts, lobes put together, touching nuclei split, platelets left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, closed, components, filled, opened
from leukoscope.cells.stain import Floats, otsu_levels

_NOISE = 5.0  # spreads above the middle: purple beyond doubt
_STRONG = 6.5  # spreads: what the middle of a nucleus reaches
FAINT: Final = 0.1  # in density: what noise and vignetting of a blank field stay below; nuclei seen had 0.35 and more
_GRAIN = 0.05  # of a red cell's diameter: radius below which purple parts are specks
_CLUMP = 0.06  # of it: half the width of pale gaps between clumps of chromatin
_HOLE = 0.05  # of a red cell's area: larger pale parts are the hole of a ring
_FULL = 0.42  # of it: inscribed radius from which a part is a nucleus of its own, not a lobe (6.3 um across)
_NECK = 0.75  # of the smaller of two full parts: a narrower neck between them is where two cells touch
_GAP = 0.45  # of it: lobes of one nucleus lie nearer than this
_EXTENT = 2.6  # of it: the longest nucleus, 20 um
_LEAST_AREA = 0.30  # of a red cell's area: a platelet is smaller; a nucleus cut by the picture's edge may be
_LEAST_CUT = 0.15
_LEAST_PART = 0.04  # of it: smaller parts are no lobes
_LARGEST_AREA = 7.0  # of it: no nucleus is larger than 20 um across; those of five laboratories had 4.2 at most
_CONTRAST = 0.25  # of the height of such a part: nuclei stand out of it by more
_TRIES = 3  # times that a level is sought again within a part that is too large


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei:
    """Nuclei of a field.

    Attributes:
        label: int32 [H, W], numbers them from 1.
        count: how many.
        platelets: things too small or too pale for a nucleus.
        refused: things larger than any nucleus, in which no level parts what would be one.
    """

    label: NDArray[np.int32]
    count: int
    platelets: int
    refused: int = 0


def find_nuclei(purple: Floats, middle: float, spread: float, red_cell: float) -> Nuclei:
    """Find the nuclei.

    Of what is purple beyond doubt, Otsu's level parts nuclei from cytoplasm; within a part that no nucleus is as large
    as, it is sought again. Parts with two full bodies and a neck are
    split along the watershed of their distance transform (Vincent & Soille 1991, IEEE PAMI 13); lobes that lie near
    each other are put together unless both are full nuclei.

    Args:
        purple: float32 [H, W], `Density.purple`, smoothed.
        middle: of `Density`.
        spread: of `Density`.
        red_cell: diameter of a red cell in pixels, or what stands for it.
    """
    beyond = purple > middle + _NOISE * spread
    some = purple[beyond]
    none = Nuclei(np.zeros(purple.shape, np.int32), 0, 0)
    if some.size < 20:
        return none
    (level,) = otsu_levels(some)
    dark = np.asarray(purple > max(level, middle + _NOISE * spread))
    dark = opened(closed(dark, _CLUMP * red_cell), _GRAIN * red_cell)
    disc = math.pi / 4 * red_cell**2
    dark = filled(dark, _HOLE * disc)
    parts, areas = components(dark)
    small = np.flatnonzero(areas < _LEAST_PART * disc)
    parts[np.isin(parts, small)] = 0
    parts, refused = _sought_again(_split(parts, red_cell), purple - np.float32(middle), red_cell)
    groups = _together(parts, red_cell)
    return replace(_worthy(parts, groups, purple - np.float32(middle), spread, disc), refused=refused)


def _sought_again(parts: NDArray[np.int32], height: Floats, red_cell: float) -> tuple[NDArray[np.int32], int]:
    """The parts with those that are too large divided at a higher level, and how many were given up."""
    disc = math.pi / 4 * red_cell**2
    for _ in range(_TRIES):
        large = np.flatnonzero(np.bincount(parts.ravel())[1:] > _LARGEST_AREA * disc) + 1
        if not len(large):
            break
        for index in large:
            mask = np.asarray(parts == index)
            own = height[mask]
            (level,) = otsu_levels(own)
            if np.median(own[own > level]) - np.median(own[own <= level]) < _CONTRAST * np.median(own):
                continue  # of one height: what Otsu's level parts there is noise
            inner = opened(np.asarray(mask & (height > level)), _GRAIN * red_cell)
            pieces, sizes = components(filled(inner, _HOLE * disc))
            pieces[np.isin(pieces, np.flatnonzero(sizes < _LEAST_PART * disc))] = 0
            again = _split(pieces, red_cell)
            parts[mask] = 0
            parts[again > 0] = again[again > 0] + int(parts.max())
    large = np.flatnonzero(np.bincount(parts.ravel())[1:] > _LARGEST_AREA * disc) + 1
    parts[np.isin(parts, large)] = 0
    _, numbers = np.unique(np.append(parts.ravel(), 0), return_inverse=True)  # from 1 on without gaps again
    return numbers[:-1].reshape(parts.shape).astype(np.int32), len(large)


def _split(parts: NDArray[np.int32], red_cell: float) -> NDArray[np.int32]:
    """Parts in which two full bodies touch become two."""
    result = np.zeros_like(parts)
    count = 0
    for index, window in windows_of(parts).items():
        mask = parts[window] == index
        wide = np.pad(mask, 1).view(np.uint8)
        depth = np.asarray(cv2.distanceTransform(wide, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)
        pieces = _bodies(mask, depth, red_cell)
        for piece in pieces:
            count += 1
            result[window][piece] = count
    return result


def _bodies(mask: Mask, depth: Floats, red_cell: float) -> list[Mask]:
    """The mask, or its pieces if at least two full bodies are joined by a neck."""
    top = float(depth.max())
    if top < _FULL * red_cell:
        return [mask]
    for level in np.arange(0.3, 1.0, 0.1) * top:
        cores, areas = components(np.asarray(depth > level))
        tall = [i for i in range(1, len(areas)) if depth[cores == i].max() >= _FULL * red_cell]
        if len(tall) < 2:
            continue
        if level > _NECK * min(float(depth[cores == i].max()) for i in tall):
            return [mask]
        # At the level where the cores part they nearly meet: the nearer core is the watershed, without the steps and
        # plateaus of 8 bits that OpenCV's flooding follows.
        away = [cv2.distanceTransform((cores != i).astype(np.uint8), cv2.DIST_L2, 5) for i in tall]
        nearest = np.argmin(np.stack(away), axis=0)
        return [np.asarray((nearest == number) & mask) for number in range(len(tall))]
    return [mask]


def _together(parts: NDArray[np.int32], red_cell: float) -> NDArray[np.int64]:
    """Group of each part, int64 [count + 1]; lobes of one nucleus have one."""
    found = windows_of(parts).items()
    group = np.arange(len(found) + 1, dtype=np.int64)
    outline: dict[int, NDArray[np.float64]] = {}
    full: dict[int, bool] = {}
    for index, window in found:
        mask = np.pad(parts[window] == index, 1).view(np.uint8)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = np.concatenate(lines)[:, 0].astype(np.float64)
        outline[index] = points + np.array([window[1].start - 1, window[0].start - 1])
        full[index] = float(cv2.distanceTransform(mask, cv2.DIST_L2, 5).max()) >= _FULL * red_cell
    near = sorted(
        (gap, a, b)
        for a in outline for b in outline
        if a < b and (gap := _gap(outline[a], outline[b], _GAP * red_cell)) <= _GAP * red_cell
    )  # fmt: skip
    for _, a, b in near:
        one, other = np.flatnonzero(group == group[a]), np.flatnonzero(group == group[b])
        if group[a] == group[b] or (any(full[int(i)] for i in one) and any(full[int(i)] for i in other)):
            continue
        points = np.concatenate([outline[int(i)] for i in (*one, *other)])
        if float(np.ptp(points, axis=0).max()) <= _EXTENT * red_cell:
            group[other] = group[a]
    return group


def _gap(one: NDArray[np.float64], other: NDArray[np.float64], enough: float) -> float:
    """Least distance between outlines; infinite where their boxes are farther apart than ``enough``."""
    apart = np.maximum(one.min(axis=0) - other.max(axis=0), other.min(axis=0) - one.max(axis=0))
    if apart.max() > enough:
        return math.inf
    some, rest = one[:: max(1, len(one) // 150)], other[:: max(1, len(other) // 150)]
    return float(np.sqrt(((some[:, None] - rest) ** 2).sum(axis=2).min()))


def _worthy(parts: NDArray[np.int32], groups: NDArray[np.int64], height: Floats, spread: float, disc: float) -> Nuclei:
    """Groups as large and as strongly stained as a nucleus; the others are platelets and dirt."""
    whole = groups[parts].astype(np.int32)
    label = np.zeros_like(parts)
    count = platelets = 0
    for index, window in windows_of(whole).items():
        mask = whole[window] == index
        area = int(np.count_nonzero(mask))
        edge = any(side.start == 0 or side.stop == length for side, length in zip(window, parts.shape, strict=True))
        stain = float(np.median(height[window][mask]))
        if stain < FAINT:
            continue
        if stain >= _STRONG * spread and area >= (_LEAST_CUT if edge else _LEAST_AREA) * disc:
            count += 1
            label[window][mask] = count
        else:
            platelets += 1
    return Nuclei(label, count, platelets)


def windows_of(label: NDArray[np.int32]) -> dict[int, tuple[slice, slice]]:
    """Bounding window of every number above 0 that occurs, rising."""
    y, x = np.nonzero(label)
    if not len(y):
        return {}
    numbers, place = np.unique(label[y, x], return_inverse=True)
    low = np.full((len(numbers), 2), np.iinfo(np.int64).max)
    high = np.zeros((len(numbers), 2), np.int64)
    for axis, coordinate in enumerate((y, x)):
        np.minimum.at(low[:, axis], place, coordinate)
        np.maximum.at(high[:, axis], place, coordinate)
    return {
        int(number): (slice(int(a[0]), int(b[0]) + 1), slice(int(a[1]), int(b[1]) + 1))
        for number, a, b in zip(numbers, low, high, strict=True)
    }
