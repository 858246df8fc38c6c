"""A whole slide by its levels: what OpenSlide opens, and pyramids of OME-TIFF, which it does not."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.limits import Deadline
from leukoscope.cells.read import HEAD_BYTES, kind_of
from leukoscope.cells.scale import PixelSize, pixel_size, tiff_pixel_size
from leukoscope.cells.tiff_segments import NAMES, Damaged, Segment, unpacked
from leukoscope.errors import PictureError, optional

_EXPORT: Final = "export the slide as a pyramid of TIFF with tiles of JPEG"
_WHITE: Final = 255


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a slide.

    Attributes:
        width: pixels.
        height: pixels.
        scale: how many pixels of the full level one of its pixels is wide.
    """

    width: int
    height: int
    scale: float


class Slide(Protocol):
    """An open slide. May be read by several threads."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The full level first."""

    @property
    def stated(self) -> PixelSize | None:
        """The size of a pixel of the full level, as the file states it."""

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A part of a level in its own pixels, uint8 [height, width, 3]; white beyond what was scanned.

        Raises:
            PictureError: the part is damaged or cannot be unpacked.
        """

    def close(self) -> None:
        """Close the file."""


def open_slide(path: Path) -> Slide:
    """Open a slide; of a folder of DICOM files the first one, which leads to the others.

    Raises:
        MissingExtraError: the extra `slides` is not installed.
        PictureError: the file is missing, damaged, or no slide that can be read.
    """
    openslide = optional("openslide", "a whole slide", "slides")
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and _kind(each) == "DICOM")
        if not files:
            raise PictureError("the folder holds no slide in DICOM", path=path, remedy="name a slide's file")
        path = files[0]
    kind = _kind(path)
    if kind == "TIFF" and _is_ome(path):
        return _Pyramid(path)
    try:
        return _OpenSlide(path, openslide)
    except (openslide.OpenSlideUnsupportedFormatError, openslide.OpenSlideError) as error:
        if kind == "TIFF":
            return _Pyramid(path)
        raise PictureError(
            f"cannot be opened as a slide ({error})", path=path, remedy="copy it again, or " + _EXPORT
        ) from error


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror or error})", path=path, remedy="check the path") from error


class _OpenSlide:
    """By OpenSlide. An error leaves its handle useless, so that it is opened again."""

    def __init__(self, path: Path, module: Any) -> None:
        self.path = path
        self._module = module
        self._lock = threading.Lock()
        self._open = module.OpenSlide(str(path))
        sizes, scales = self._open.level_dimensions, self._open.level_downsamples
        self.levels = tuple(Level(x, y, scale) for (x, y), scale in zip(sizes, scales, strict=True))
        told = self._open.properties
        sides = told.get(module.PROPERTY_NAME_MPP_X), told.get(module.PROPERTY_NAME_MPP_Y)
        try:
            self.stated = None if None in sides else pixel_size(float(sides[0]), float(sides[1]), "um", "slide's mpp")
        except ValueError:
            self.stated = None

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        scale = self.levels[level].scale
        try:
            part = self._open.read_region((round(x * scale), round(y * scale)), level, (width, height))
        except self._module.OpenSlideError as error:
            with self._lock:
                self._open.close()
                self._open = self._module.OpenSlide(str(self.path))
            raise PictureError(f"a part of it is damaged or cannot be unpacked ({error})", path=self.path) from error
        layers = np.asarray(part)
        rgb = np.ascontiguousarray(layers[..., :3])
        rgb[layers[..., 3] < 128] = _WHITE
        return rgb

    def close(self) -> None:
        self._open.close()


def _is_ome(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(0, 2)
        file.seek(max(0, file.tell() - (1 << 20)))
        return b"<OME" in head or b"<OME" in file.read()


class _Pyramid:
    """A TIFF whose levels tifffile lists; its tiles are unpacked by the house's own reader."""

    def __init__(self, path: Path) -> None:
        tifffile = optional("tifffile", "a slide of this kind", "slides")
        logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it says is said by our own errors
        self.path = path
        self._lock = threading.Lock()
        self._file: Any = None
        try:
            self._file = tifffile.TiffFile(path)
            self._pages = [level.pages[0].aspage() for level in self._file.series[0].levels]
            description = self._file.pages[0].description or ""
            self._check()
        except PictureError:
            self.close()
            raise
        except Exception as error:  # tifffile raises nearly any built-in error on damaged data
            self.close()
            raise PictureError(
                f"cannot be opened as a slide ({error})", path=path, remedy="copy it again, or " + _EXPORT
            ) from error
        first = self._pages[0]
        tags = first.tags
        width = first.imagewidth
        self.levels = tuple(Level(page.imagewidth, page.imagelength, width / page.imagewidth) for page in self._pages)
        across, down = (_ratio(tags, name) for name in ("XResolution", "YResolution"))
        unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2
        self.stated = tiff_pixel_size(description, across, down, unit, first.imagewidth * first.imagelength)

    def _check(self) -> None:
        for page in self._pages:
            what = None
            if not page.is_tiled:
                what = "has no tiles"
            elif page.bitspersample != 8 or page.samplesperpixel not in (3, 4) or page.planarconfig != 1:
                what = f"has {page.samplesperpixel} bands of {page.bitspersample} bits, not red, green and blue of 8"
            elif int(page.compression) not in _READ:
                what = (
                    f"has tiles of {NAMES.get(int(page.compression), page.compression)}, for which no decoder is here"
                )
            if what is not None:
                raise PictureError(f"is a slide that {what}", path=self.path, remedy=_EXPORT)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        page = self._pages[level]
        across, down = page.tilewidth, page.tilelength
        columns = -(-page.imagewidth // across)
        out = np.full((height, width, 3), _WHITE, np.uint8)
        for row in range(max(0, y) // down, min(page.imagelength - 1, y + height - 1) // down + 1):
            for column in range(max(0, x) // across, min(page.imagewidth - 1, x + width - 1) // across + 1):
                tile = self._tile(page, row * columns + column)
                left, top = column * across - x, row * down - y
                right, bottom = (
                    min(left + across, width, page.imagewidth - x),
                    min(top + down, height, page.imagelength - y),
                )
                inner = tile[max(0, -top) : bottom - top, max(0, -left) : right - left]
                out[max(0, top) : bottom, max(0, left) : right] = inner
        return out

    def _tile(self, page: Any, number: int) -> NDArray[np.uint8]:
        start, length = page.dataoffsets[number], page.databytecounts[number]
        if not length:
            return np.full((page.tilelength, page.tilewidth, 3), _WHITE, np.uint8)
        with self._lock:
            handle = self._file.filehandle
            handle.seek(start)
            data = handle.read(length)
        ycbcr = int(page.photometric) == 6
        segment = Segment(
            order=self._file.byteorder, bits=8, floats=False, bands=page.samplesperpixel,
            compression=int(page.compression), predictor=int(page.predictor), backwards=False, ycbcr=ycbcr,
            tables=page.jpegtables or b"",
        )  # fmt: skip
        try:
            tile = unpacked(data, 0, length, segment, page.tilelength, page.tilewidth, Deadline(str(self.path)))
        except (Damaged, ValueError, OverflowError, cv2.error) as error:
            raise PictureError(f"a part of it is damaged or cannot be unpacked ({error})", path=self.path) from error
        return np.asarray(tile[..., :3], np.uint8)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


_READ: Final = frozenset({1, 5, 7, 8, 32946, 33003, 33004, 33005, 34712, 50001})  # by `cells.tiff_segments`


def _ratio(tags: Any, name: str) -> float | None:
    value = tags[name].value if name in tags else (0, 0)
    return value[0] / value[1] if value[1] else None
