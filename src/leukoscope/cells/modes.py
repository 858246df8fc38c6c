"""From an opened Pillow picture of any mode to 8-bit RGB."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from leukoscope.cells.tiff_tags import exif_orientation
from leukoscope.errors import PictureError

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PLAIN = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_KINDS = {"I": "32-bit integers", "F": "32-bit floats", "LAB": "CIE LAB"}
_FORMATS = {"WEBP": "WebP"}


def to_rgb(image: ImageFile, name: str) -> NDArray[np.uint8]:
    """Decode the pixels, convert them to RGB on black and turn them as EXIF says.

    Args:
        image: a picture of which only the header was read.
        name: what to call it in errors.

    Returns:
        uint8 [H, W, 3].

    Raises:
        PictureError: the data are damaged or cut short, or the pixels are of a kind with no agreed 8-bit form.
    """
    mode = image.mode
    if mode not in _PLAIN | _WITH_ALPHA | _GREY_16:
        raise PictureError(
            f"has pixels of the kind {mode!r} ({_KINDS.get(mode, 'unknown')}), which have no one 8-bit form",
            path=name,
            remedy="export the picture as 8-bit RGB",
        )
    try:
        image.load()
        rgb = _grey_16(image) if mode in _GREY_16 else plain_rgb(image)
        turn = _TURNS.get(stated_orientation(image))
        return np.array(rgb if turn is None else rgb.transpose(turn))
    except MemoryError as error:
        raise PictureError(
            f"has {image.width} x {image.height} pixels, more than fit into memory",
            path=name,
            remedy="crop the picture",
        ) from error
    except Exception as error:  # Pillow raises nearly any built-in error on damaged data
        raise PictureError(
            f"the {_FORMATS.get(image.format or '', image.format)} data are damaged or cut short ({error})",
            path=name,
            remedy="copy or export the picture again",
        ) from error


def plain_rgb(image: Image.Image) -> Image.Image:
    """RGB picture, transparency composited on black."""
    if image.mode not in _WITH_ALPHA and image.info.get("transparency") is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema() == (0, 0):  # a writer that left the channel empty
        return layered.convert("RGB")
    black = Image.new("RGB", layered.size)
    black.paste(layered, mask=layered.getchannel("A"))
    return black


def _grey_16(image: Image.Image) -> Image.Image:
    """RGB picture of 16-bit grey: round(value / 257) maps 0..65535 onto 0..255, both ends exactly."""
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 0
    return Image.fromarray(grey).convert("RGB")


def stated_orientation(image: Image.Image) -> int:
    """EXIF or XMP orientation, 1 (upright) where there is none or the block is damaged: the pixels are still good.

    Read here and not by Pillow, which writes warnings to the terminal that do not name the file.
    """
    block = image.info.get("exif")
    raw = image.info.get("Raw profile type exif")  # hexadecimal, as ImageMagick writes it into PNG
    if block is None and isinstance(raw, str):
        try:
            block = bytes.fromhex("".join(raw.split("\n")[3:]))
        except ValueError:
            return 1
    found = exif_orientation(block) if isinstance(block, bytes) else None
    if found is None:
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        told = re.search(rb"tiff:Orientation(?:=\"|>)([1-8])", xmp if isinstance(xmp, bytes) else xmp.encode())
        return int(told.group(1)) if told else 1
    return found
