"""One strip or tile of a TIFF file: unpacked, its predictor undone, as an array of samples."""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from leukoscope.cells.checked import jpeg_scans
from leukoscope.cells.limits import Costly, Deadline, check_cost
from leukoscope.errors import PictureError

NAMES: Final = {
    2: "CCITT fax coding", 3: "CCITT fax coding", 4: "CCITT fax coding", 5: "LZW", 6: "old-style JPEG", 7: "JPEG",
    8: "Deflate", 32773: "PackBits", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
    34887: "LERC", 34892: "lossy DNG JPEG", 34925: "LZMA", 34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard",
    50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
PLAIN: Final = frozenset({1, 5, 8, 32773, 32946})  # what is unpacked to the bytes of the samples
#: Pictures in pictures, of any size whatever the page says: JPEG 2000 and WebP.
UNBOUNDED: Final = frozenset({33003, 33004, 33005, 34712, 50001})
_GROWTH: Final = 8  # most bytes that a packed part may have for each of its samples
_SEQUENTIAL = 4  # scans of a JPEG that is not progressive, at most
_BLOCK = 64  # rows of odd depth that are spread into bits at once

# OpenCV's log names no file, and what it says is said by our own errors. From 4.13 on the function lies elsewhere.
getattr(cv2.utils, "logging", cv2).setLogLevel(0)


class Damaged(Exception):  # noqa: N818  (never leaves the reader)
    """The file is not as its tags say."""


@dataclass(frozen=True)
class Segment:
    """What all strips or tiles of a page have in common.

    Attributes:
        order: of bytes, `<` or `>`.
        bits: of a sample.
        floats: whether samples are floating-point numbers.
        bands: samples of a pixel.
        compression: by the number of its tag.
        predictor: 1 none, 2 differences along a row, 3 those of the bytes of floats.
        backwards: whether the first sample is in the lowest bits of a byte.
        ycbcr: whether a JPEG holds luminance and chrominance, and not RGB.
        tables: what all JPEG parts have in common.
    """

    order: Literal["<", ">"]
    bits: int
    floats: bool
    bands: int
    compression: int
    predictor: int
    backwards: bool
    ycbcr: bool
    tables: bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples, in the machine's byte order."""
        if self.floats:
            return np.dtype(f"f{self.bits // 8}")
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)


def unpacked(
    data: bytes, start: int, stop: int, segment: Segment, rows: int, columns: int, deadline: Deadline
) -> NDArray[Any]:
    """Samples of one strip or tile, [rows, columns, bands] of ``segment.dtype``.

    Args:
        data: the bytes of the file.
        start: of the strip or tile in it.
        stop: its end, as far as it is known.
        segment: how it is stored.
        rows: of it.
        columns: of it.
        deadline: of the picture.

    Raises:
        Damaged: it holds something else, or less.
        PictureError: the time is over.
        Costly: another process is to unpack it.
    """
    line = -(-columns * segment.bands * segment.bits // 8)
    wanted = line * rows
    stop = min(stop, start + _GROWTH * (line * rows + 2**16))  # no packing makes more of it
    if segment.compression == 1:
        raw = data[start : start + wanted]  # whatever its length is said to be: many writers are wrong
    elif segment.compression in PLAIN:
        raw = _UNPACKERS[segment.compression](data[start:stop], line, rows, deadline)
    else:
        return _coloured(data[start:stop], segment, rows, columns, deadline.name)
    if len(raw) < wanted:
        raise Damaged(f"{len(raw)} of {wanted} bytes of a strip or tile")
    return _samples(np.frombuffer(raw, np.uint8, wanted).reshape(rows, line), segment, columns)


def _samples(lines: NDArray[np.uint8], segment: Segment, columns: int) -> NDArray[Any]:
    """The bytes of rows as samples."""
    shape = (len(lines), columns, segment.bands)
    if segment.predictor == 3 and segment.floats:
        size = segment.bits // 8
        summed = lines.reshape(len(lines), -1, segment.bands).cumsum(axis=1, dtype=np.uint8)
        woven = np.ascontiguousarray(summed.reshape(len(lines), size, -1).transpose(0, 2, 1))
        return woven.view(f">f{size}").reshape(shape).astype(segment.dtype)
    if segment.bits % 8:
        samples = _spread(lines, segment, columns).reshape(shape)
    else:
        samples = lines.view(segment.dtype.newbyteorder(segment.order)).reshape(shape).astype(segment.dtype, copy=False)
    if segment.predictor == 2 and not segment.floats:
        with np.errstate(over="ignore"):
            samples = samples.cumsum(axis=1, dtype=segment.dtype)
        return samples & (2**segment.bits - 1) if segment.bits % 8 else samples
    if segment.predictor != 1:
        raise Damaged(f"an unknown predictor {segment.predictor}")
    return samples


def _spread(lines: NDArray[np.uint8], segment: Segment, columns: int) -> NDArray[Any]:
    """Samples of a depth that is no whole number of bytes."""
    count = columns * segment.bands
    out = np.empty((len(lines), count), segment.dtype)
    weights = (1 << np.arange(segment.bits)[::-1]).astype(np.uint32)
    for top in range(0, len(lines), _BLOCK):
        part = lines[top : top + _BLOCK]
        bits = np.unpackbits(part, axis=1, bitorder="little" if segment.backwards else "big")
        out[top : top + _BLOCK] = bits[:, : count * segment.bits].reshape(len(part), count, segment.bits) @ weights
    return out


def _deflated(packed: bytes, line: int, rows: int, _deadline: Deadline) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, line * rows)  # never more than wanted
        if len(raw) == line * rows and not unpacker.eof:
            unpacker.decompress(unpacker.unconsumed_tail, 2**16)  # to the end, where the checksum is
    except zlib.error as error:
        raise Damaged(str(error)) from error
    return raw


def _pack_bits(packed: bytes, line: int, rows: int, deadline: Deadline) -> bytes:
    out, place, wanted = bytearray(), 0, line * rows
    for step in itertools.count():
        if len(out) >= wanted or place >= len(packed):
            break
        if step % 65536 == 0:
            deadline.check()
        head = packed[place]
        if head < 128:
            out += packed[place + 1 : place + 2 + head]
            place += 2 + head
        else:
            if head > 128:
                out += packed[place + 1 : place + 2] * (257 - head)
            place += 2 if head > 128 else 1
    return bytes(out[:wanted])


def _lzw(packed: bytes, line: int, rows: int, _deadline: Deadline) -> bytes:
    """Unpacked by OpenCV as grey values: as 16 bits where the bytes are even, which alone is checked for damage."""
    if line % 2 == 0:
        return _grey(packed, line // 2, rows, 16)
    even = _grey(packed, line, rows // 2, 16) if rows > 1 else b""
    return even if rows % 2 == 0 else even + _grey(packed, line, rows, 8)[len(even) :]


def _grey(packed: bytes, columns: int, rows: int, bits: int) -> bytes:
    tags = [(256, columns), (257, rows), (258, bits), (259, 5), (262, 1), (273, 8), (277, 1), (278, rows)]
    tags.append((279, len(packed)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    padded = packed + b"\0" * (len(packed) % 2)
    head = b"II*\0" + struct.pack("<I", 8 + len(padded))
    file = head + padded + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    try:
        found = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise Damaged("LZW") from error
    if found is None or found.shape != (rows, columns) or found.itemsize != bits // 8:
        raise Damaged("LZW")
    return np.asarray(found).astype(f"<u{bits // 8}", copy=False).tobytes()


_UNPACKERS: Final = {5: _lzw, 8: _deflated, 32946: _deflated, 32773: _pack_bits}


def _check_part(image: Image.Image, rows: int, columns: int) -> None:
    width, height = image.size
    if width < columns or height < rows or width * height > 4 * rows * columns + 2**20:
        raise Damaged(f"a part of {width} x {height} px where {columns} x {rows} are due")


def _coloured(packed: bytes, segment: Segment, rows: int, columns: int, name: str) -> NDArray[Any]:
    """A strip or tile that is a JPEG, JPEG 2000 or WebP picture in itself."""
    kind = segment.compression
    try:
        if kind == 7:
            tables = segment.tables[:-2] + packed[2:] if len(segment.tables) > 4 else packed
            if jpeg_scans(tables, name) > _SEQUENTIAL:
                check_cost(math.inf)
            image: Any = JpegImageFile(BytesIO(tables))
            if image.mode == "RGB":
                tile = image.tile[0]
                image.tile = [(*tile[:3], ("RGB", "YCbCr" if segment.ycbcr else "RGB"))]
        elif kind == 50001:
            image = WebPImageFile(BytesIO(packed))
        else:
            image = Jpeg2KImageFile(BytesIO(packed))
        _check_part(image, rows, columns)
        if kind == 33003 and image.mode == "RGB":  # Aperio's: luminance and chrominance, which its header does not say
            image = Image.fromarray(np.asarray(image), "YCbCr").convert("RGB")
        values = np.asarray(image)[:rows, :columns]
    except (Damaged, Costly, PictureError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly any built-in error on damaged data
        raise Damaged(f"{NAMES[kind]}: {error}") from error
    values = values if values.ndim == 3 else values[..., None]
    if values.dtype != np.uint8 or values.shape[2] != segment.bands:
        raise Damaged(f"{NAMES[kind]} of {values.shape[2]} bands where {segment.bands} are due")
    return values
