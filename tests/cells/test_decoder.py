"""Pictures that cost much are decoded in another process, to the same pixels, within bounds that the error names."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from leukoscope.cells import decode, limits, read
from leukoscope.cells.decoder import decode_apart
from leukoscope.cells.limits import SECONDS_VARIABLE
from leukoscope.errors import PictureError

from .files import encode, noise

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere neither memory nor processor time is bounded")


def crash(*_: object) -> np.ndarray:
    os.abort()


def work_for_ever(*_: object) -> np.ndarray:
    while True:
        pass


def take_all(*_: object) -> np.ndarray:
    return np.ones(2**32, np.uint8)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were decoded in another process."""
    names: list[str] = []

    def noted(function, data, name, max_pixels):
        names.append(name)
        return decode_apart(function, data, name, max_pixels)

    monkeypatch.setattr(read, "decode_apart", noted)
    return names


def test_what_costs_little_is_decoded_here(apart: list[str]) -> None:
    for kind in ("BMP", "PNG", "JPEG", "TIFF", "WEBP"):
        decode(encode(noise(64), kind), name=kind)
    assert apart == []


def test_pixels_are_those_of_this_process(apart: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {kind: encode(noise(64), kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP")}
    here = {kind: decode(data, name=kind) for kind, data in files.items()}
    monkeypatch.setattr(limits, "MAX_HERE", 100)
    for kind, data in files.items():
        found = decode(data, name=kind)
        assert np.array_equal(found, here[kind])
        assert found.flags.writeable
    assert apart == list(files)
    with pytest.raises(PictureError, match=r"^a\.png: the PNG data are damaged or cut short"):
        decode(files["PNG"][:-20], name="a.png")


def test_each_scan_of_a_jpeg_counts(apart: list[str]) -> None:
    many = encode(np.zeros((2200, 2200, 3), np.uint8), "JPEG", progressive=True)  # ten scans of 5 million pixels
    assert decode(many, name="progressive").shape == (2200, 2200, 3)
    assert apart == ["progressive"]


@pytest.mark.parametrize("compression", [50001, 34712])
def test_pictures_within_a_tiff_are_bounded_by_nothing_that_it_says(apart: list[str], compression: int) -> None:
    inner = io.BytesIO()
    Image.fromarray(noise(64)).save(inner, "WEBP" if compression == 50001 else "JPEG2000", lossless=True)
    data = tiff_around(inner.getvalue(), compression)
    assert np.array_equal(decode(data, name="inner"), noise(64))
    assert apart == ["inner"]


def test_a_progressive_jpeg_within_a_tiff(apart: list[str]) -> None:
    found = decode(tiff_around(encode(noise(64), "JPEG", progressive=True), 7), name="inner")
    assert found.shape == noise(64).shape
    assert apart == ["inner"]


def tiff_around(inner: bytes, compression: int) -> bytes:
    """A TIFF whose one strip is a picture in itself."""
    height, width, _ = noise(64).shape
    file = io.BytesIO()
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 2, 273: 8, 277: 3, 278: height, 279: len(inner)}
    inner += b"\0" * (len(inner) % 2)
    file.write(b"II*\0" + (8 + len(inner)).to_bytes(4, "little") + inner + len(tags).to_bytes(2, "little"))
    for tag, value in tags.items():
        file.write(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little"))
    return file.getvalue() + bytes(4)


def test_a_decoder_that_crashes_costs_one_picture() -> None:
    with pytest.raises(PictureError) as caught:
        decode_apart(crash, b"", "a.png", 10)
    assert str(caught.value) == "a.png: the decoder crashed on it; copy or export the picture again"
    assert np.array_equal(decode_apart(read._decoded, encode(noise(8), "PNG"), "b.png", 10**6), noise(8))


@on_linux
def test_time_and_memory_are_bounded_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match=r"needs more than 1,073,741,\d+ bytes to decode.*--max-pixels"):
        decode_apart(take_all, b"", "a.png", 1)
    monkeypatch.setenv(SECONDS_VARIABLE, "0.5")
    told = r"^a\.png: takes more than 0\.5 s to decode, the time allowed; .* --decode-seconds 1\.5, or LEUKO.*=1\.5$"
    with pytest.raises(PictureError, match=told):
        decode_apart(work_for_ever, b"", "a.png", 10)
