"""TIFF files as cameras, slide scanners and scientific programs write them, read by their tags (TIFF 6.0; BigTIFF).

Pillow reads TIFF in the forms that pictures of 8 bits have; of the others it takes bytes for pixels, calls them
damaged, or lets libtiff talk to the terminal. Here the tags are read in Python, and each strip or tile is handed to a
decoder.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.limits import Deadline, check_cost, check_size
from leukoscope.cells.scale import PixelSize, tiff_pixel_size
from leukoscope.cells.tiff_segments import NAMES, PLAIN, UNBOUNDED, Damaged, Segment, unpacked
from leukoscope.cells.tiff_tags import TiffPage, tiff_pages
from leukoscope.errors import PictureError

_MOST_BANDS = 64
_LESSER = 0.5  # of the largest page's area: pages up to here are thumbnails or levels of a pyramid
_BITS, _COMPRESSION = 258, 259
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_OTHER_COLOURS: Final = {
    4: "a mask", _LAB: "CIE LAB", 9: "ICC LAB", 10: "ITU LAB", 32803: "a sensor's mosaic",
    32844: "LogL", 32845: "LogLuv", 34892: "a sensor's raw colours",
}  # fmt: skip
_EXPORT = "export the picture as 8-bit RGB"


def read_tiff(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """The one picture of a TIFF file as 8-bit RGB, turned as its orientation says.

    Of several pages the largest is taken where all others are thumbnails or levels of a pyramid; three grey pages that
    OME or ImageJ call channels are red, green and blue. Of 16 bits, the smallest of 8, 10, 12, 14 and 16 that holds the
    brightest value is the range, unless the file names it: cameras of 12 bits write 0 to 4095. Floats are read from 0
    to 1, or as whole numbers up to 255. Alpha is composited on black, and is none where it is 0 everywhere; further
    bands are left out.

    Args:
        data: the bytes of the file, which begins as a TIFF does.
        name: what to call the picture in errors.
        max_pixels: bound on width times height.

    Returns:
        uint8 [H, W, 3], writeable.

    Raises:
        PictureError: the file is damaged or cut short, too large, or of a kind with no agreed 8-bit form.
        Costly: another process is to decode it.
    """
    try:
        pages = tiff_pages(data, name)
        sized = [page for page in pages if page.area > 0]
    except (Damaged, struct.error, OverflowError) as error:
        raise _no_header(name) from error
    if not sized:
        raise _no_header(name)
    try:
        chosen = _chosen(sized, name)
        width, height = chosen[0].size
        check_size((width, height), name, max_pixels)
        check_cost(sum(_cost(page) for page in chosen))
        deadline = Deadline(name)
        planes = [_rgb(page, data, name, deadline) for page in chosen]
        rgb = planes[0] if len(planes) == 1 else np.stack([plane[..., 0] for plane in planes], axis=2)
        return np.array(turned(rgb, chosen[0].one(274, 1)), np.uint8, order="C")
    except MemoryError as error:
        raise PictureError(
            f"has {width} x {height} pixels, more than fit into memory", path=name, remedy="crop the picture"
        ) from error
    except (Damaged, struct.error, ValueError, OverflowError) as error:
        raise PictureError(
            f"the TIFF data are damaged or cut short ({error})", path=name, remedy="copy or export the picture again"
        ) from error


def tiff_scale(data: bytes, name: str) -> PixelSize | None:
    """The size of a pixel that a TIFF file states of the picture that `read_tiff` reads; None where it states none.

    Args:
        data: the bytes of the file, which begins as a TIFF does.
        name: what to call the picture.
    """
    try:
        pages = [page for page in tiff_pages(data, name) if page.area > 0]
        page = _chosen(pages, name)[0]
        return tiff_pixel_size(
            pages[0].description or page.description, page.ratio(282), page.ratio(283), page.one(296, 2), page.area
        )
    except (Damaged, struct.error, OverflowError, ValueError, PictureError):
        return None


def _cost(page: TiffPage) -> float:
    """Pixels of 3 bytes that a page has."""
    if page.one(_COMPRESSION, 1) in UNBOUNDED:
        return math.inf
    return page.area * page.bands * max(page.bits, 8) / 24


def _no_header(name: str) -> PictureError:
    return PictureError(
        "the TIFF header is damaged or names a picture without pixels", path=name,
        remedy="copy or export the picture again",
    )  # fmt: skip


def _chosen(pages: list[TiffPage], name: str) -> list[TiffPage]:
    """The page to read, or the three pages of red, green and blue."""
    whole = [page for page in pages if not page.is_lesser] or pages
    largest = max(page.area for page in whole)
    equals = [page for page in whole if page.area > _LESSER * largest]
    if len(equals) == 1:
        return equals
    if len(equals) == 3 and len({(page.size, page.bits) for page in equals}) == 1 and _are_channels(equals):
        return equals
    raise PictureError(
        f"the TIFF file holds {len(equals)} pictures", path=name, remedy="save each picture to a file of its own"
    )


def _are_channels(pages: list[TiffPage]) -> bool:
    told = pages[0].description
    named = re.search(r'SizeC="3"', told) if "<OME" in told else re.search(r"^channels=3\s*$", told, re.MULTILINE)
    return named is not None and all(page.bands == 1 and page.colours == _GREY for page in pages)


def _rgb(page: TiffPage, data: bytes, name: str, deadline: Deadline) -> NDArray[np.uint8]:
    """A page as uint8 [H, W, 3], not yet turned."""
    _check_kind(page, name)
    values = _decoded(page, data, deadline)
    if page.colours == _PALETTE:
        return _from_palette(page, values)
    kept = 4 if page.colours == _CMYK else 3 if page.bands >= 3 else 1
    colour = _levels(values[..., :kept], page, name)
    if page.colours == _WHITE_IS_ZERO:
        colour = np.asarray(255 - colour, np.uint8)
    if page.colours == _CMYK:
        return np.asarray(Image.fromarray(colour, "CMYK").convert("RGB"))
    if page.colours == _YCBCR and page.one(_COMPRESSION, 1) not in _COLOURED:
        return np.asarray(Image.fromarray(colour, "YCbCr").convert("RGB"))
    if kept == 1:
        colour = np.repeat(colour, 3, axis=2)
    alpha = kept if page.bands > kept and page.one(338) == 2 else 0  # 1: the colours are multiplied by it already
    return _on_black(colour, _levels(values[..., alpha : alpha + 1], page, name)) if alpha else colour


_COLOURED: Final = frozenset({7, 33003, 33004, 33005, 34712, 50001})  # their decoders give RGB


def _check_kind(page: TiffPage, name: str) -> None:
    """Name a kind that is not read."""
    kinds = set(page.tags.get(_BITS, (1,))), set(page.tags.get(339, (1,)))
    compression = page.one(_COMPRESSION, 1)
    sample = page.one(339, 1)
    what = None
    if page.colours in _OTHER_COLOURS:
        what = f"has pixels in {_OTHER_COLOURS[page.colours]}, which have no one 8-bit form"
    elif any(len(kind) > 1 for kind in kinds):
        what = "has bands of several depths"
    elif page.bands > _MOST_BANDS or (page.bands > 4 and page.colours == _GREY):
        what = f"has {page.bands} bands, of which nothing says which are red, green and blue"
    elif compression not in PLAIN | _COLOURED:
        what = f"is packed by {NAMES.get(compression, f'method {compression}')}, which is not read"
    elif compression in _COLOURED and page.bits != 8:
        what = f"holds {NAMES.get(compression, 'data')} of {page.bits} bits, which is not read"
    elif sample == 3 and page.bits not in (16, 32, 64):
        what = f"has {page.bits}-bit floats"
    elif sample == 1 and page.bits > 16:
        what = f"has {page.bits}-bit integers, which have no one 8-bit form"
    elif sample not in (1, 3, 4):
        what = f"has {page.bits}-bit integers with a sign, or complex numbers, which have no one 8-bit form"
    elif page.colours == _YCBCR and compression not in _COLOURED and tuple(page.tags.get(530, (2, 2))) != (1, 1):
        what = "has subsampled YCbCr pixels without JPEG, which are not read"
    if what is not None:
        raise PictureError(what, path=name, remedy=_EXPORT)
    least = {_RGB: 3, _YCBCR: 3, _CMYK: 4}.get(page.colours, 1)
    if page.colours not in (_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR) or page.bands < least:
        raise Damaged(f"{page.bands} bands of photometric {page.colours}")


def _decoded(page: TiffPage, data: bytes, deadline: Deadline) -> NDArray[Any]:
    """All samples, [H, W, bands], in the file's own dtype and the machine's byte order."""
    width, height = page.size
    tiled = 322 in page.tags
    across, down = (page.one(322), page.one(323)) if tiled else (width, min(page.one(278, height) or height, height))
    if across < 1 or down < 1 or across * down > 4 * width * height + 2**22:
        raise Damaged("tiles of an impossible size")
    apart = page.one(284, 1) == 2 and page.bands > 1
    offsets = page.tags.get(324 if tiled else 273, ())
    counts = page.tags.get(325 if tiled else 279, ())
    if not all(isinstance(value, int) and value >= 0 for value in (*offsets, *counts)):
        raise Damaged("strips at places that are no whole numbers")
    columns, rows = -(-width // across), -(-height // down)
    if len(offsets) < columns * rows * (min(page.bands, 4) if apart else 1):
        raise Damaged("strips are missing")
    segment = Segment(
        order=page.order, bits=page.bits, floats=page.one(339, 1) == 3, bands=1 if apart else page.bands,
        compression=page.one(_COMPRESSION, 1), predictor=page.one(317, 1), backwards=page.one(266, 1) == 2,
        ycbcr=page.colours == _YCBCR, tables=page.tags.get(347, (b"",))[0],
    )  # fmt: skip
    kept = min(page.bands, 4)  # of bands apart, no more is looked at
    whole = np.empty((height, width, kept if apart else page.bands), segment.dtype)
    for number in range(columns * rows * (kept if apart else 1)):
        deadline.check()
        band, place = divmod(number, columns * rows)
        top, left = (place // columns) * down, (place % columns) * across
        lines = down if tiled else min(down, height - top)
        start = offsets[number]
        stop = start + counts[number] if number < len(counts) and counts[number] else len(data)
        part = unpacked(data, start, stop, segment, lines, across, deadline)[: height - top, : width - left]
        whole[top : top + down, left : left + across, band if apart else slice(None)] = part[..., 0] if apart else part
    return whole


def _levels(values: NDArray[Any], page: TiffPage, name: str) -> NDArray[np.uint8]:
    """Samples as levels 0 to 255."""
    if values.dtype == np.uint8 and page.bits == 8:
        return np.asarray(values)
    if page.bits < 8:
        return np.asarray(values * (255 // (2**page.bits - 1)), np.uint8)
    if values.dtype.kind == "f":
        return _from_floats(values, name)
    depth = _depth(values, page)
    if depth == 8:
        return values.astype(np.uint8)
    if depth == 16 and page.bands >= 3:
        return (values >> 8).astype(np.uint8)  # as Pillow does with PNG
    most = 2**depth - 1
    return np.asarray((values.astype(np.uint32) * 255 + most // 2) // most, np.uint8)


def _depth(values: NDArray[Any], page: TiffPage) -> int:
    """Bits that the range of the samples has."""
    brightest = int(values.max())
    told = re.search(r'SignificantBits="(\d{1,2})"', page.description)
    named = int(told.group(1)) if told else page.one(281).bit_length()
    if 8 <= named <= page.bits and brightest < 2**named:
        return named
    return next((depth for depth in (8, 10, 12, 14) if depth <= page.bits and brightest < 2**depth), page.bits)


def _from_floats(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    least, most = float(values.min()), float(values.max())
    scale = 255.0 if most <= 1 else 1.0
    whole = most <= 1 or (most <= 255 and bool(np.all(values == np.rint(values))))
    if not (least >= 0 and whole):  # NaN is not at least 0
        raise PictureError(
            f"has {8 * values.dtype.itemsize}-bit floats from {least:.4g} to {most:.4g}, which have no one 8-bit form",
            path=name, remedy="scale them to 0 to 1, or " + _EXPORT,
        )  # fmt: skip
    return np.rint(values * scale).astype(np.uint8)


def _from_palette(page: TiffPage, values: NDArray[Any]) -> NDArray[np.uint8]:
    table = np.array(page.tags.get(320, ()), np.int64)
    if page.bits > 8 or len(table) != 3 * 2**page.bits:
        raise Damaged("the palette does not fit")
    wide = table.reshape(3, -1).T
    colours = (wide if table.max() < 256 else wide >> 8).astype(np.uint8)  # some write 8 bits
    return np.asarray(colours[values[..., 0]])


def _on_black(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not alpha.any():
        return colour
    product = colour.astype(np.uint32) * alpha + 128
    return np.asarray((product + (product >> 8)) >> 8, np.uint8)  # rounds x / 255 exactly


def turned(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A picture, uint8 [H, W, 3], as its orientation of 1 to 8 says; a view."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return rgb[:, ::-1] if orientation in (2, 3, 6, 7) else rgb
