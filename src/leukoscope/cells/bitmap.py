"""Plain bitmaps, in which C-NMC 2019 is published: their pixels taken as they lie, in a tenth of a decoder's time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile


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
