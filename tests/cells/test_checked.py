"""Damage that a file tells of itself is heard: no other pixels are given in silence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from leukoscope.cells import decode
from leukoscope.errors import PictureError

from .files import encode, noise


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def outcome(data: bytes, sound: np.ndarray) -> str:
    """`refused`, `same` pixels or `other` pixels."""
    try:
        return "same" if np.array_equal(decode(data, name="cell"), sound) else "other"
    except PictureError:
        return "refused"


def test_no_bit_of_a_png_changes_a_pixel_in_silence() -> None:
    data = encode(noise(32), "PNG")
    rng = np.random.default_rng(0)
    found = [outcome(flipped(data, int(bit)), noise(32)) for bit in rng.choice(8 * len(data), 400, replace=False)]
    assert set(found) == {"refused"}


def test_a_png_says_which_part_is_damaged_or_that_its_end_is_missing() -> None:
    data = encode(noise(32), "PNG")
    place = data.index(b"IDAT") + 200
    with pytest.raises(
        PictureError, match=r"the PNG data are damaged or cut short \(the checksum of its part IDAT is an"
    ):
        decode(flipped(data, 8 * place), name="cell")
    with pytest.raises(PictureError, match=r"its end is missing"):
        decode(data[:-12], name="cell")
    assert np.array_equal(decode(data + b"anything", name="cell"), noise(32))


def test_no_bit_of_a_deflated_strip_changes_a_pixel_in_silence() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(32)).save(file, "TIFF", compression="tiff_adobe_deflate")
    data = file.getvalue()
    with Image.open(io.BytesIO(data)) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    rng = np.random.default_rng(0)
    bits = 8 * start + rng.choice(8 * length, 400, replace=False)
    found = [outcome(flipped(data, int(bit)), noise(32)) for bit in bits]
    assert "other" not in found
    assert found.count("refused") > 390  # a bit or two of the stream's header have no effect


def test_a_jpeg_whose_codes_do_not_fit_is_refused() -> None:
    data = encode(noise(64), "JPEG")
    sound = decode(data, name="cell")
    start = data.index(b"\xff\xda") + 14
    rng = np.random.default_rng(0)
    told = {"refused": 0, "same": 0, "other": 0}
    silent = 0
    for bit in 8 * start + rng.choice(8 * (len(data) - start), 300, replace=False):
        bad = flipped(data, int(bit))
        told[outcome(bad, sound)] += 1
        with Image.open(io.BytesIO(bad)) as image:
            try:
                image.load()
            except OSError:
                continue
            silent += 1
    assert told["refused"] > 60  # JPEG has no checksum: of most flips nothing can be told
    assert silent > 290  # as Pillow has it


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 2, "progressive": True}, {"keep_rgb": True}]
)
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_pixels_are_those_of_pillow(options: dict[str, object], grey: bool) -> None:
    picture = Image.fromarray(noise(96)).convert("L" if grey else "RGB")
    file = io.BytesIO()
    picture.save(file, "JPEG", **({} if grey else options))
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    found = decode(file.getvalue(), name="cell")
    assert np.array_equal(found, expected)
    assert found.flags.writeable


def test_a_jpeg_of_four_colours_is_read_by_pillow() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(64)).convert("CMYK").save(file, "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    assert np.array_equal(decode(file.getvalue(), name="cell"), expected)
