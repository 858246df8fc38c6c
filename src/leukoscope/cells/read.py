"""Decoding a picture file, with every fault told in one line and nothing decoded before its size is known.

Which kind of picture some bytes are, and its size, without decoding it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from leukoscope.cells.bitmap import masked_bitmap, plain_bitmap
from leukoscope.cells.checked import check_png, check_png_parts, jpeg_rgb, jpeg_scans
from leukoscope.cells.decoder import decode_apart
from leukoscope.cells.dicom import dicom_scale, read_dicom
from leukoscope.cells.limits import MAX_BYTES, Costly, check_cost, check_passes, check_size
from leukoscope.cells.limits import MAX_PIXELS as MAX_PIXELS  # noqa: PLC0414  (its home until now)
from leukoscope.cells.modes import plain_rgb, stated_orientation, to_rgb
from leukoscope.cells.scale import PixelSize
from leukoscope.cells.tiff import read_tiff, tiff_scale, turned
from leukoscope.errors import PictureError
from leukoscope.text import printable

# What Pillow warns of (damaged EXIF blocks) names no file, and costs no pixel. A filter for good, as those for a while
# are not safe while other threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The C library returns the memory of a freed picture to the system, which clears it page by page for the next one; but
# it keeps twice as much as the largest piece that was ever freed: this one, of which no page is touched.
np.empty(1 << 23, np.uint8)

# Pillow's readers are called directly and not by Image.open: that one would also issue a process-wide warning about
# large pictures, which cannot be silenced safely while other threads decode.
_READERS: dict[str, type[ImageFile]] = {
    "BMP": BmpImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
}
_STARTS = (
    (b"BM", "BMP"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"v/1\x01", "OpenEXR"),
)
_BRANDS = {
    brand: kind
    for kind, brands in {"HEIC": "heic heix hevc hevx heim heis", "HEIF": "mif1 msf1", "AVIF": "avif avis"}.items()
    for brand in (each.encode() for each in brands.split())
}
_REMEDY = "give it as BMP, PNG, JPEG, TIFF or WebP"
_DAMAGED = "copy or export the picture again"


def open_header(data: bytes, name: str, max_pixels: int) -> ImageFile:
    """Pillow picture of which only the header was read: one frame, of a known kind but TIFF, within the bound.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height.

    Raises:
        PictureError: none of the above.
        Costly: another process is to decode it.
    """
    if not data:
        raise PictureError("the file is empty", path=name, remedy=_DAMAGED)
    kind = kind_of(data)
    if kind not in _READERS:
        raise PictureError(f"is {kind or 'not a picture'}, which is not read", path=name, remedy=_REMEDY)
    if kind == "WebP":
        check_size(_webp_size(data), name, max_pixels)  # Pillow's reader allocates the canvas as it opens
    if kind == "PNG":
        check_png_parts(data, name)
    scans = jpeg_scans(data, name) if kind == "JPEG" else 0
    try:
        image = _READERS[kind](BytesIO(data))
        frames = int(getattr(image, "n_frames", 1) or 1)
    except Exception as error:  # Pillow raises nearly any built-in error on a damaged header
        raise PictureError(
            f"the {kind} header is damaged or names a picture without pixels", path=name, remedy=_DAMAGED
        ) from error
    check_size(image.size, name, max_pixels)
    if kind == "JPEG":
        check_passes(scans, image.size, name, max_pixels)
    elif kind != "BMP":
        check_cost(image.width * image.height)
    if frames > 1:
        raise PictureError(
            f"the {kind} file holds {frames} pictures", path=name, remedy="save each picture to a file of its own"
        )
    return image


#: Bytes of a file that tell its kind.
HEAD_BYTES = 256
#: Kinds that are pictures, whether they are read or not.
_PICTURES = frozenset({*_READERS, "TIFF", "GIF", "Photoshop", "JPEG 2000", "OpenEXR", "HEIC", "HEIF", "AVIF", "DICOM"})


def holds_picture(head: bytes) -> bool:
    """Whether the first bytes of a file, `HEAD_BYTES` of them, are those of a picture, read by us or not.

    >>> holds_picture(b"GIF89a"), holds_picture(b"path,label")
    (True, False)
    """
    return kind_of(head) in _PICTURES


def kind_of(data: bytes) -> str | None:
    """Kind of a file by its first bytes, or None.

    >>> kind_of(b"BM...."), kind_of(b"GIF89a"), kind_of(b"hello")
    ('BMP', 'GIF', 'text')
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video, or another file of its container")
    if data[128:132] == b"DICM":
        return "DICOM"
    head = data[:256]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "text"
    return None


def _large_webp(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8] | None:
    """A WebP beyond the bound that Pillow's reader has of its own, uint8 [H, W, 3]; None for any other file."""
    size = _webp_size(data) if kind_of(data) == "WebP" else (0, 0)
    if Image.MAX_IMAGE_PIXELS is None or size[0] * size[1] <= Image.MAX_IMAGE_PIXELS:
        return None
    check_size(size, name, max_pixels)
    check_cost(size[0] * size[1])
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 3 or found.shape[1::-1] != size:
        raise PictureError("the WebP data are damaged or cut short", path=name, remedy=_DAMAGED)
    if found.shape[2] == 3:
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)
    return np.array(plain_rgb(Image.fromarray(np.asarray(cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA), np.uint8))))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP header (RFC 9649, sections 2.5 to 2.7); (0, 0) where it is damaged."""
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return 0, 0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        rgb: uint8 [H, W, 3].
        sha256: of the file's bytes, 64 hexadecimal digits.
        path: as it was given.
        scale: what the file states of the size of a pixel; None where it states none, see `cells.scale`.
    """

    rgb: NDArray[np.uint8]
    sha256: str
    path: str
    scale: PixelSize | None = None


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
    return decoded(data, name=name, max_pixels=max_pixels)


def decoded(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture that the bytes of a file hold, with what they state of its scale; see `decode`."""
    rgb = decode(data, name=name, max_pixels=max_pixels)
    return Picture(rgb, hashlib.sha256(data).hexdigest(), name, stated_scale(data, name=name))


def stated_scale(data: bytes, *, name: str) -> PixelSize | None:
    """What a file states of the size of a pixel: TIFF and DICOM can; None where it states nothing that can be used."""
    kind = kind_of(data)
    if kind == "TIFF":
        return tiff_scale(data, printable(name))
    return dicom_scale(data) if kind == "DICOM" else None


def decode(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a BMP, PNG, JPEG, TIFF or WebP picture, told by its content, to 8-bit RGB; a DICOM file with its extra.

    The EXIF orientation is applied. Transparency is composited on black, the surround of a segmented cell; where it is
    total everywhere, it is none. 16-bit grey becomes ``round(value / 257)``; of 16-bit colour the high byte is kept;
    for those of TIFF see `cells.tiff`. CMYK and YCbCr are converted by
    Pillow's plain formulas; colour profiles are not applied. Of a JPEG with further pictures appended (MPO) the
    first is read. What the file tells of its own damage is heard: the checksums of PNG and of Deflate in TIFF, and what
    does not fit into the codes of a JPEG. See `cells.limits` for what decoding may cost; what costs much is done by a
    process that is ended where it costs too much.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height, checked on the header before anything is decoded.

    Returns:
        uint8 [H, W, 3].

    Raises:
        PictureError: the bytes are not one whole picture of a known kind within the bound.
    """
    shown = printable(name)
    try:
        return _decoded(data, shown, max_pixels)
    except Costly:
        pass
    return decode_apart(_decoded, data, shown, max_pixels)


def _decoded(data: bytes, shown: str, max_pixels: int) -> NDArray[np.uint8]:
    by_tags = {"TIFF": read_tiff, "DICOM": read_dicom}.get(kind_of(data) or "")
    if by_tags is not None:
        return by_tags(data, shown, max_pixels)
    masked = masked_bitmap(data, shown, max_pixels)
    if masked is not None:
        return masked
    large = _large_webp(data, shown, max_pixels)
    if large is not None:
        return large
    image = open_header(data, shown, max_pixels)
    bitmap = plain_bitmap(image, data)
    if bitmap is not None:
        return bitmap
    if image.format == "PNG":
        check_png(data, shown)
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        found = jpeg_rgb(data, shown)
        if found is not None and found.shape[1::-1] == image.size:
            return np.ascontiguousarray(turned(found, stated_orientation(image)))
    return to_rgb(image, shown)


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
