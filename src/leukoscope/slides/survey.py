"""Where on a slide cells can be judged: a map of windows, told on a low level by how much red cells cover and overlap.

In the monolayer red cells lie side by side: they leave ground between them, and no light passes two of them. In the
thick part they cover everything, and density is that of two or more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import PictureError
from leukoscope.slides.source import Slide
from leukoscope.smears.redcells import RedCell
from leukoscope.smears.ruler import RED_CELL_UM, Ruler, find_red_cells, ruler_of, stated_ruler
from leukoscope.smears.stain import absorbed, ground_light

Zone = Literal["empty", "monolayer", "thick"]
ZONES: Final[tuple[Zone, ...]] = ("empty", "monolayer", "thick")
COARSE_UM: Final = 1.0  # of a pixel of the level that zones are told on: a red cell has seven
WINDOW: Final = 2048  # pixels of the full level: side of a window
_THUMB = 1400  # pixels: longer side of the thumbnail
_COVERED = 0.06  # density of green and blue together: more is a cell
_LEAST = 0.04  # of a window that must be covered: less is empty glass
_MOST = 0.62  # of it: more is thick. Of real fields one layer covers 0.38 to 0.57, two 0.64 to 0.80 (docs/slides.md)
_TWO = 1.6  # of a single cell's density: more is two, or a nucleus
_OVERLAPPING = 0.5  # of what is covered: more is thick, or dirt
_LOOKS = 24  # places in which red cells are sought for the scale
_LOOK = 1024  # pixels: side of such a place
_ENOUGH = 200  # red cells: more do not make the scale better


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the map.

    Attributes:
        row: from 0.
        column: from 0.
        box: x, y, width, height in pixels of the full level, without the overlap that it is read with.
        zone: what lies there; None where the low level could not be read there.
        covered: share of it that cells cover.
        overlapping: share of what is covered that is as dense as two cells.
    """

    row: int
    column: int
    box: tuple[int, int, int, int]
    zone: Zone | None
    covered: float
    overlapping: float


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """The map of a slide.

    Attributes:
        windows: row by row.
        rows: how many.
        columns: how many.
        level: on which zones were told.
        ruler: the scale of the full level, from the file or the red cells.
    """

    windows: tuple[Window, ...]
    rows: int
    columns: int
    level: int
    ruler: Ruler

    @property
    def um_per_px(self) -> float:
        """The scale of the full level, which a survey is not made without."""
        assert self.ruler.um_per_px is not None
        return self.ruler.um_per_px

    def count(self, zone: Zone | None) -> int:
        """How many windows are of a zone."""
        return sum(window.zone == zone for window in self.windows)

    @property
    def chosen(self) -> tuple[Window, ...]:
        """Those in which cells can be judged."""
        return tuple(window for window in self.windows if window.zone == "monolayer")


def thumbnail_of(slide: Slide, side: int = _THUMB) -> NDArray[np.uint8]:
    """The slide as a small picture, uint8 [h, w, 3], made strip by strip of the lowest level that is large enough.

    Raises:
        PictureError: nothing of that level can be read.
    """
    number = max((n for n, level in enumerate(slide.levels) if max(level.width, level.height) >= side), default=0)
    level = slide.levels[number]
    zoom = min(1.0, side / max(level.width, level.height))
    width, height = max(1, round(level.width * zoom)), max(1, round(level.height * zoom))
    out = np.full((height, width, 3), 255, np.uint8)
    tile = 1024
    fault: PictureError | None = None
    done = False
    for top in range(0, level.height, tile):
        for left in range(0, level.width, tile):
            size = (min(tile, level.width - left), min(tile, level.height - top))
            try:
                part = slide.read(number, left, top, *size)
                done = True
            except PictureError as error:
                fault = error
                continue
            x, y = round(left * zoom), round(top * zoom)
            right, bottom = (max(x + 1, round((left + size[0]) * zoom)), max(y + 1, round((top + size[1]) * zoom)))
            small = cv2.resize(part, (right - x, bottom - y), interpolation=cv2.INTER_AREA)
            out[y:bottom, x:right] = small[: height - y, : width - x]
    if fault is not None and not done:
        raise fault
    return out


def scale_of(
    slide: Slide, thumbnail: NDArray[np.uint8], *, um_per_px: float | None = None, red_cell_um: float = RED_CELL_UM
) -> Ruler:
    """The scale of the full level: as given, else as the file states it, else by the red cells; these check both.

    Red cells are sought in places spread over what is stained in the thumbnail, as far from the densest and the
    emptiest as there are.

    Args:
        slide: open.
        thumbnail: of it.
        um_per_px: where it is known.
        red_cell_um: mean diameter of a red cell, micrometres.

    Raises:
        PictureError: the scale is unknown.
    """
    found: list[RedCell] = []
    for x, y in _places(slide, thumbnail):
        try:
            rgb = slide.read(0, x, y, min(_LOOK, slide.levels[0].width - x), min(_LOOK, slide.levels[0].height - y))
        except PictureError:
            continue
        found += find_red_cells(rgb)
        if len(found) >= _ENOUGH:
            break
    if um_per_px is not None:
        return ruler_of(found, um_per_px=um_per_px, red_cell_um=red_cell_um)
    if slide.stated is not None:
        return stated_ruler(slide.stated, found, red_cell_um=red_cell_um)
    ruler = ruler_of(found, red_cell_um=red_cell_um)
    if ruler.um_per_px is None:
        raise PictureError(
            "states no size of a pixel, and its red cells tell none", path=slide.path, remedy="give --um-per-px"
        )
    return ruler


def _places(slide: Slide, thumbnail: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Left and top, in the full level, of places that may show red cells, the likeliest first."""
    full = slide.levels[0]
    zoom = thumbnail.shape[1] / full.width
    columns, rows = max(1, full.width // _LOOK), max(1, full.height // _LOOK)
    dense = _red(thumbnail, ground_light(thumbnail))
    mean = cv2.resize(dense, (columns, rows), interpolation=cv2.INTER_AREA) if zoom < 1 else np.zeros((rows, columns))
    stained = mean[mean > _COVERED / 4]
    middle = float(np.median(stained)) if stained.size else 0.0
    order = np.argsort(np.abs(mean - 0.7 * middle), axis=None, kind="stable")
    for place in order[:: max(1, min(len(order) // _LOOKS // 4, 7))][:_LOOKS]:
        row, column = divmod(int(place), columns)
        yield column * _LOOK, row * _LOOK


def survey(
    slide: Slide, ruler: Ruler, ground: NDArray[np.float64], *, window: int = WINDOW,
    progress: Callable[[int], None] | None = None,
) -> Survey:  # fmt: skip
    """Map a slide. Memory does not grow with it.

    Args:
        slide: open.
        ruler: its scale, known.
        ground: light of the empty glass, float64 [3], from the thumbnail.
        window: side of a window, pixels of the full level.
        progress: called with windows newly looked at.
    """
    assert ruler.um_per_px is not None
    full = slide.levels[0]
    fits = [n for n, level in enumerate(slide.levels) if level.scale * ruler.um_per_px <= 1.5 * COARSE_UM]
    number = max(fits, key=lambda n: slide.levels[n].scale, default=0)
    level = slide.levels[number]
    down, across = _ends(full.height, window), _ends(full.width, window)
    rows, columns = len(down) - 1, len(across) - 1
    shrink = min(1.0, level.scale * ruler.um_per_px / COARSE_UM)
    measured: list[tuple[tuple[int, int, int, int], NDArray[np.float32] | None]] = []
    single = []
    for top, bottom in pairwise(down):
        for left, right in pairwise(across):
            box = (left, top, right - left, bottom - top)
            histogram = _histogram(slide, number, box, shrink, ground)
            measured.append((box, histogram))
            if progress is not None:
                progress(1)
    for _, histogram in measured:
        if histogram is not None:
            covered, middle = covered_by(histogram)
            if _LEAST <= covered <= _MOST:
                single.append(middle)
    one = float(np.median(single)) if single else math.inf
    windows = [_told(divmod(place, columns), box, histogram, one) for place, (box, histogram) in enumerate(measured)]
    return Survey(tuple(windows), rows, columns, number, ruler)


def _ends(length: int, window: int) -> list[int]:
    """Where equal parts of at most ``window`` pixels end, 0 first."""
    parts = math.ceil(length / window)
    return [round(length * part / parts) for part in range(parts + 1)]


_BINS, _TOP = 128, 1.28  # of density, in steps of a hundredth


def _histogram(
    slide: Slide, number: int, box: tuple[int, int, int, int], shrink: float, ground: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """Shares of a window by density; None where it cannot be read."""
    scale = slide.levels[number].scale
    x, y, width, height = (round(side / scale) for side in box)
    try:
        rgb = slide.read(number, x, y, max(1, width), max(1, height))
    except PictureError:
        return None
    if shrink < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    return histogram_of(rgb, ground)


def histogram_of(rgb: NDArray[np.uint8], ground: NDArray[np.float64]) -> NDArray[np.float32]:
    """Shares of a picture of about `COARSE_UM` by density, float32 [128], a hundredth each.

    Args:
        rgb: uint8 [H, W, 3].
        ground: light of the empty glass, float64 [3].
    """
    counts, _ = np.histogram(np.clip(_red(rgb, ground), 0, _TOP - 1e-6), _BINS, (0, _TOP))
    return np.asarray(counts / counts.sum(), np.float32)


def _red(rgb: NDArray[np.uint8], ground: NDArray[np.float64]) -> NDArray[np.float32]:
    _, green, blue = absorbed(rgb, ground, 0)
    return np.asarray(green + blue, np.float32)


_LEVELS: Final = (np.arange(_BINS) + 0.5) * _TOP / _BINS


def covered_by(histogram: NDArray[np.float32]) -> tuple[float, float]:
    """Share that cells cover, and the median density there."""
    part = np.where(_LEVELS > _COVERED, histogram, 0)
    covered = float(part.sum())
    if covered <= 0:
        return 0.0, 0.0
    return covered, float(np.interp(covered / 2, np.cumsum(part), _LEVELS))


def shares(histogram: NDArray[np.float32], one: float) -> tuple[float, float]:
    """Share that cells cover, and share of that which is as dense as two of them.

    Args:
        histogram: from `histogram_of`.
        one: density of a single cell.
    """
    covered, _ = covered_by(histogram)
    return covered, float(histogram[_TWO * one < _LEVELS].sum()) / covered if covered else 0.0


def _told(
    place: tuple[int, int], box: tuple[int, int, int, int], histogram: NDArray[np.float32] | None, one: float
) -> Window:
    if histogram is None:
        return Window(*place, box, None, 0.0, 0.0)
    covered, two = shares(histogram, one)
    zone: Zone = "monolayer"
    if covered < _LEAST:
        zone = "empty"
    elif covered > _MOST or two > _OVERLAPPING:
        zone = "thick"
    return Window(*place, box, zone, round(covered, 3), round(two, 3))
