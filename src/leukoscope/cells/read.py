"""Decoding a picture file, with every fault told in one line and nothing decoded before its size is known."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.bitmap import plain_bitmap
from leukoscope.cells.pixels import to_rgb
from leukoscope.cells.sniff import open_header
from leukoscope.errors import PictureError
from leukoscope.printing import printable

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30  # 1 GiB; a picture of MAX_PIXELS has a third of that uncompressed


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        rgb: uint8 [H, W, 3].
        sha256: of the file's bytes, 64 hexadecimal digits.
        path: as it was given.
    """

    rgb: NDArray[np.uint8]
    sha256: str
    path: str


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture file; see `decode` for what is understood.

    Args:
        path: a regular file, or a link to one, of at most `MAX_BYTES`. Nothing else is opened.
        max_pixels: bound on width times height.

    Raises:
        PictureError: the file is missing, unreadable, too large or not a whole picture of a known kind.
    """
    name = os.fspath(path)
    data = _read_bytes(name)
    return Picture(
        rgb=decode(data, name=name, max_pixels=max_pixels), sha256=hashlib.sha256(data).hexdigest(), path=name
    )


def decode(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a BMP, PNG, JPEG, TIFF or WebP picture, told by its content, to 8-bit RGB.

    The EXIF orientation is applied. Transparency is composited on black, the surround of a segmented cell. 16-bit grey
    becomes ``round(value / 257)``; of 16-bit colour Pillow keeps the high byte. CMYK and YCbCr are converted by
    Pillow's plain formulas; colour profiles are not applied. Of a JPEG with further pictures appended (MPO) the
    first is read.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height, checked on the header before anything is decoded. For a TIFF,
            Pillow's own ``Image.MAX_IMAGE_PIXELS`` (89 million unless changed) applies too.

    Returns:
        uint8 [H, W, 3].

    Raises:
        PictureError: the bytes are not one whole picture of a known kind within the bound.
    """
    shown = printable(name)
    image = open_header(data, shown, max_pixels)
    bitmap = plain_bitmap(image, data)
    return to_rgb(image, shown) if bitmap is None else bitmap


def _read_bytes(name: str) -> bytes:
    """Bytes of a regular file of sane size."""
    shown = printable(name)
    path = Path(name)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PictureError("is a folder, not a picture", path=shown, remedy="name the pictures in it")
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("is not a regular file", path=shown, remedy="give a picture file")
        if status.st_size > MAX_BYTES:
            raise PictureError(
                f"has {status.st_size:,} bytes, more than the {MAX_BYTES:,} allowed",
                path=shown,
                remedy="crop the picture",
            )
        with path.open("rb", buffering=0) as file:  # a buffer would copy all bytes once more
            data = file.read(status.st_size + 1)
            while len(data) <= status.st_size and (rest := file.read(status.st_size + 1 - len(data))):
                data += rest
            return data
    except FileNotFoundError as error:
        if path.is_symlink():
            raise PictureError(
                "is a link to a file that does not exist", path=shown, remedy="repair the link"
            ) from error
        raise PictureError("no such file", path=shown, remedy="check the path") from error
    except PermissionError as error:
        raise PictureError("may not be read", path=shown, remedy="change the permissions of the file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"cannot be read ({reason})", path=shown, remedy="check the path and the disk") from error
