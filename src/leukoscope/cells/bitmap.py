"""Bitmaps (BMP), in which C-NMC 2019 is published: their pixels taken as they lie, in a tenth of a decoder's time."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from leukoscope.cells.limits import check_size
from leukoscope.errors import PictureError

_DAMAGED = "copy or export the picture again"


def plain_bitmap(image: ImageFile, data: bytes) -> NDArray[np.uint8] | None:
    """Pixels of an uncompressed 24-bit BMP, from the bottom row upwards.

    Args:
        image: the file opened by Pillow, only the header read.
        data: the bytes of the file.

    Returns:
        uint8 RGB [H, W, 3]; None for any other file, and for one that is cut short: Pillow decodes it, or says what
        is wrong.
    """
    if image.format != "BMP" or image.mode != "RGB" or len(image.tile) != 1:
        return None
    decoder, extents, offset, arguments = image.tile[0]
    width, height = image.size
    stride = (3 * width + 3) // 4 * 4
    if decoder != "raw" or arguments != ("BGR", stride, -1) or extents != (0, 0, width, height):
        return None
    if len(data) < offset + stride * height:
        return None
    rows = np.frombuffer(data, np.uint8, stride * height, offset).reshape(height, stride)
    pixels = np.lib.stride_tricks.as_strided(rows, (height, width, 3), (stride, 3, 1), writeable=False)
    rgb = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    cv2.flip(rgb, 0, rgb)  # in place: memory for a second picture would take ten times as long as turning it
    return rgb


_BITFIELDS = 3  # compression of a BMP whose masks say where the colours are


def masked_bitmap(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8] | None:
    """Pixels of an uncompressed BMP of 16 or 32 bits by its masks, of which Pillow knows the usual ones only.

    A fourth byte is transparency where a mask says so, composited on black, and none where it is 0 everywhere.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height.

    Returns:
        uint8 RGB [H, W, 3]; None for any other file.

    Raises:
        PictureError: it is larger than the bound, cut short, or its masks are no colours.
    """
    if len(data) < 54 or data[:2] != b"BM":
        return None
    start, header, width, height = struct.unpack_from("<IIii", data, 10)
    bits, packing = struct.unpack_from("<HI", data, 28)
    if header < 40 or bits not in (16, 32) or packing not in (0, _BITFIELDS, 6) or width < 1 or not height:
        return None
    check_size((width, abs(height)), name, max_pixels)
    fields: tuple[int, ...] = (0x7C00, 0x3E0, 0x1F, 0) if bits == 16 else (0xFF0000, 0xFF00, 0xFF, 0)
    if packing and len(data) >= 66:
        fields = struct.unpack_from("<3I", data, 54)
        fields += struct.unpack_from("<I", data, 66) if (header >= 56 or packing == 6) and len(data) >= 70 else (0,)
    stride = (width * bits // 8 + 3) // 4 * 4
    rows = np.frombuffer(data, np.uint8, max(0, min(stride * abs(height), len(data) - start)), min(start, len(data)))
    if len(rows) < stride * abs(height) or not all(fields[:3]):
        raise PictureError("the BMP data are damaged or cut short (its rows or masks)", path=name, remedy=_DAMAGED)
    pixels = rows.reshape(abs(height), stride).view(f"<u{bits // 8}")[:, :width]
    rgb = np.stack([_masked(pixels, field) for field in fields[:3]], axis=2)
    alpha = _masked(pixels, fields[3])[..., None].astype(np.uint32)
    if alpha.any() and alpha.min() < 255:
        rgb = ((rgb * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(rgb[::-1] if height > 0 else rgb)


def _masked(pixels: NDArray[Any], field: int) -> NDArray[np.uint8]:
    """The bits of a mask as levels 0 to 255; 0 where the mask is empty."""
    if not field:
        return np.zeros(pixels.shape, np.uint8)
    shift = (field & -field).bit_length() - 1
    most = field >> shift
    return (((pixels & field) >> shift).astype(np.uint64) * 255 // most).astype(np.uint8)
