"""Tiles of a field or a slide for the viewer, in a process of its own: see `answers.tile`, through which it is called.

What was opened last stays open: a few slides, and decoded fields of so many bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import decode
from leukoscope.errors import LeukoscopeError
from leukoscope.service.answers import SMALL, TILE, Shown, zooms
from leukoscope.slides.source import Slide, open_slide

_SLIDES: Final = 4  # open at once
_FIELD_BYTES: Final = 500 << 20  # of decoded fields; the last one stays, whatever its size
_MOST: Final = 4096 * 4096  # pixels that are read for one tile; where it takes more, the thumbnail must do
_QUALITY: Final = [cv2.IMWRITE_JPEG_QUALITY, 90]
Region = Callable[[int, int, int, int, float], NDArray[np.uint8]]


def drawn_tile(shown: Shown, z: int, x: int, y: int, max_pixels: int) -> bytes:
    """See `answers.tile`."""
    cv2.setNumThreads(1)
    read, width, height = _slide(shown) if shown.slide else _field(shown, max_pixels)
    scale = float(2 ** (zooms(width, height) - 1 - z))
    side = round(TILE * scale)
    left, top = x * side, y * side
    right, bottom = min(left + side, width), min(top + side, height)
    rgb = read(left, top, right - left, bottom - top, scale)
    size = max(1, round((right - left) / scale)), max(1, round((bottom - top) / scale))
    if (rgb.shape[1], rgb.shape[0]) != size:
        how = cv2.INTER_AREA if rgb.shape[1] > size[0] else cv2.INTER_LINEAR
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=how), np.uint8)
    return _encoded(rgb)


def drawn_cell(shown: Shown, box: tuple[int, int, int, int]) -> bytes:
    """See `answers.cell_of_slide`."""
    cv2.setNumThreads(1)
    x, y, width, height = box
    side = max(8, round(1.35 * max(width, height)))
    rgb = _opened(shown).read(0, round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side, side)
    how = cv2.INTER_AREA if side > SMALL else cv2.INTER_CUBIC
    return _encoded(np.asarray(cv2.resize(rgb, (SMALL, SMALL), interpolation=how), np.uint8))


def _encoded(rgb: NDArray[np.uint8]) -> bytes:
    done, content = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _QUALITY)
    if not done:
        raise LeukoscopeError("a tile cannot be encoded")
    return content.tobytes()


_open_slides: OrderedDict[Shown, Slide] = OrderedDict()
_open_fields: OrderedDict[Shown, list[NDArray[np.uint8]]] = OrderedDict()


def _opened(shown: Shown) -> Slide:
    slide = _open_slides.pop(shown, None) or open_slide(Path(shown.path))
    _open_slides[shown] = slide
    while len(_open_slides) > _SLIDES:
        _open_slides.popitem(last=False)[1].close()
    return slide


def _slide(shown: Shown) -> tuple[Region, int, int]:
    slide = _opened(shown)
    full = slide.levels[0]

    def read(left: int, top: int, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        fits = [number for number, level in enumerate(slide.levels) if level.scale <= 1.01 * scale]
        number = max(fits, key=lambda each: slide.levels[each].scale)
        level = slide.levels[number]
        x, y = round(left / level.scale), round(top / level.scale)
        size = max(1, round(width / level.scale)), max(1, round(height / level.scale))
        if size[0] * size[1] > _MOST:
            return _of_thumbnail(shown, left / full.width, top / full.height, width / full.width, height / full.height)
        return slide.read(number, x, y, *size)

    return read, full.width, full.height


def _of_thumbnail(shown: Shown, *share: float) -> NDArray[np.uint8]:
    """A part of the small picture of a slide, by shares of its width and height."""
    small = None if shown.thumbnail is None else cv2.imread(shown.thumbnail)
    if small is None:
        raise LeukoscopeError("the slide has no lower levels, and its thumbnail is lost", remedy="look closer")
    height, width = small.shape[:2]
    x, y = int(share[0] * width), int(share[1] * height)
    right, bottom = max(x + 1, round((share[0] + share[2]) * width)), max(y + 1, round((share[1] + share[3]) * height))
    return np.ascontiguousarray(small[y:bottom, x:right, ::-1])


def _field(shown: Shown, max_pixels: int) -> tuple[Region, int, int]:
    levels = _open_fields.pop(shown, None)
    if levels is None:
        levels = [decode(Path(shown.path).read_bytes(), name="the field", max_pixels=max_pixels)]
        while max(levels[-1].shape[:2]) > TILE:
            size = tuple(max(1, -(-side // 2)) for side in levels[-1].shape[1::-1])
            levels.append(np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), np.uint8))
    _open_fields[shown] = levels
    while len(_open_fields) > 1 and sum(_bytes(each) for each in _open_fields.values()) > _FIELD_BYTES:
        _open_fields.popitem(last=False)

    def read(left: int, top: int, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        level = levels[min(len(levels) - 1, round(np.log2(scale)))]
        x, y = round(left / scale), round(top / scale)
        return np.ascontiguousarray(level[y : y + max(1, round(height / scale)), x : x + max(1, round(width / scale))])

    return read, levels[0].shape[1], levels[0].shape[0]


def _bytes(levels: list[Any]) -> int:
    return sum(level.nbytes for level in levels)
