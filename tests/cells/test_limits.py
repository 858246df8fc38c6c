"""Files that would keep a decoder busy or take all memory are refused before, in a line that names the limit."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from leukoscope.cells import decode
from leukoscope.cells.checked import jpeg_scans
from leukoscope.cells.limits import MAX_PARTS, SECONDS_VARIABLE
from leukoscope.errors import PictureError

from .files import encode, noise, png_header


def refused(data: bytes, **options: int) -> str:
    start = time.thread_time()
    with pytest.raises(PictureError) as caught:
        decode(data, name="cell", **options)
    assert time.thread_time() - start < 2  # the limit is what refuses, and not the work
    return str(caught.value)


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    file = io.BytesIO()
    Image.fromarray(noise(64)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + (scans - jpeg_scans(data, "x") + 1) * data[last:-2] + data[-2:]


def test_scans_are_counted_as_they_are_in_the_file() -> None:
    assert jpeg_scans(encode(noise(64), "JPEG"), "x") == 1
    assert jpeg_scans(progressive(10), "x") == 10
    assert jpeg_scans(progressive(10) + progressive(50), "x") == 10  # pictures appended are not decoded


def test_a_jpeg_of_many_scans() -> None:
    told = refused(progressive(3000))
    assert "has 3,000 scans of 17 x 64 pixels, more than the 100 allowed; save it as a JPEG" in told
    assert "more than the 10 allowed" in refused(progressive(30), max_pixels=64 * 17)
    assert decode(progressive(10), name="cell", max_pixels=64 * 17).shape == (64, 17, 3)


def test_jpeg_and_png_of_many_parts() -> None:
    comment = b"\xff\xfe\0\2" * (MAX_PARTS + 1)
    data = encode(noise(8), "JPEG")
    assert "has more than 100,000 parts" in refused(data[:2] + comment + data[2:])
    chunk = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    data = encode(noise(8), "PNG")
    assert "has more than 100,000 parts" in refused(data[:33] + chunk * (MAX_PARTS + 1) + data[33:])
    assert "has more than 100,000 parts" in refused(data[:-12] + chunk * (MAX_PARTS + 1) + data[-12:])


@pytest.mark.parametrize("size", [(1, 100_000_000), (65_536, 1)])
def test_a_long_side(size: tuple[int, int]) -> None:
    assert "sides of 65,535 are the longest allowed" in refused(png_header(*size))


def test_tiff_directories_that_list_the_same_bytes_again_and_again() -> None:
    body = bytes(2**16)
    pages, offset = b"", 8 + len(body)
    for number in range(999):
        tags = [(256, 1, 64), (257, 1, 64), *((40_000 + k, len(body), 8) for k in range(8))]
        listed = b"".join(struct.pack("<HHII", tag, 7 if count > 1 else 4, count, value) for tag, count, value in tags)
        following = offset + len(pages) + 2 + len(listed) + 4
        pages += struct.pack("<H", len(tags)) + listed + struct.pack("<I", following if number < 998 else 0)
    assert "more than 67,108,864 bytes in its tags" in refused(b"II*\0" + struct.pack("<I", offset) + body + pages)


def test_tiff_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff_pack_bits(noise(64))
    assert np.array_equal(decode(data, name="cell"), noise(64))
    monkeypatch.setenv(SECONDS_VARIABLE, "1e-9")
    told = refused(data)
    assert "takes more than 1e-09 s to decode, the time allowed; export the picture again, or allow more with" in told
    assert told.endswith(f"{SECONDS_VARIABLE}=3e-09")
    monkeypatch.setenv(SECONDS_VARIABLE, "soon")
    assert np.array_equal(decode(data, name="cell"), noise(64))


def tiff_pack_bits(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "TIFF", compression="packbits")
    return file.getvalue()
