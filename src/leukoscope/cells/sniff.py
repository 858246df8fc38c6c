"""Which kind of picture some bytes are, and its size, without decoding it."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from leukoscope.errors import PictureError

# Pillow's readers are called directly and not by Image.open: that one would also issue a process-wide warning about
# large pictures, which cannot be silenced safely while other threads decode.
_READERS: dict[str, type[ImageFile]] = {
    "BMP": BmpImageFile,
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
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
_REMEDY = "give it as BMP, PNG, JPEG, TIFF or WebP"
_DAMAGED = "copy or export the picture again"


def open_header(data: bytes, name: str, max_pixels: int) -> ImageFile:
    """Pillow picture of which only the header was read: one frame, of a known kind, within the bound.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height.

    Raises:
        PictureError: none of the above.
    """
    if not data:
        raise PictureError("the file is empty", path=name, remedy=_DAMAGED)
    kind = kind_of(data)
    if kind not in _READERS:
        raise PictureError(f"is {kind or 'not a picture'}, which is not read", path=name, remedy=_REMEDY)
    if kind == "WebP":
        _check_size(_webp_size(data), name, max_pixels)  # Pillow's reader allocates the canvas as it opens
    try:
        image = _READERS[kind](BytesIO(data))
        frames = int(getattr(image, "n_frames", 1) or 1)
    except Exception as error:  # Pillow raises nearly any built-in error on a damaged header
        raise PictureError(
            f"the {kind} header is damaged or names a picture without pixels", path=name, remedy=_DAMAGED
        ) from error
    bound = max_pixels
    if kind == "TIFF" and Image.MAX_IMAGE_PIXELS is not None:
        bound = min(bound, Image.MAX_IMAGE_PIXELS)  # above it Pillow's TIFF reader warns while it loads
    _check_size(image.size, name, bound, tiff=bound < max_pixels)  # what Pillow's TIFF reader refuses, no option allows
    if frames > 1:
        raise PictureError(
            f"the {kind} file holds {frames} pictures", path=name, remedy="save each picture to a file of its own"
        )
    return image


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
        return "HEIF, AVIF or video"
    if data[128:132] == b"DICM":
        return "DICOM"
    head = data[:256]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "text"
    return None


def _check_size(size: tuple[int, int], name: str, bound: int, *, tiff: bool = False) -> None:
    width, height = size
    if width * height > bound:
        raise PictureError(
            f"has {width} x {height} pixels, more than the {bound:,} allowed", path=name,
            remedy="crop the picture" if tiff else "crop the picture, or allow more with --max-pixels",
        )  # fmt: skip


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
