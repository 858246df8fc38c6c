"""Every fault of a picture file: one clear line, and nothing decoded or blocked on the way."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.cells import decode, limits, read_picture
from leukoscope.cells.read import open_header
from leukoscope.errors import PictureError

from .files import (
    bmp_header,
    encode,
    jpeg_header,
    noise,
    png_header,
    tiff_header,
    webp_header,
)


def fault(path: Path | str) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    return clear(caught.value)


def fault_of(data: bytes, **options: int) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, name="cell.png", **options)
    assert str(caught.value).startswith("cell.png: ")
    return clear(caught.value)


def clear(error: PictureError) -> str:
    """The line, after checking that it is one, can be printed anywhere and says what to do."""
    line = str(error)
    line.encode("utf-8")
    assert line.isprintable()
    assert error.remedy
    return line


def test_missing_file(tmp_path: Path) -> None:
    assert "a.png: no such file; check the path" in fault(tmp_path / "a.png")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in fault(tmp_path)


def test_broken_link_and_loop(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nowhere.png")
    assert "is a link to a file that does not exist" in fault(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("b.png")
    assert "cannot be read" in fault(tmp_path / "b.png")


def test_file_used_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert "cannot be read" in fault(tmp_path / "a.png" / "b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no pipes with names")
def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not a regular file" in fault(tmp_path / "pipe.png")
    assert "is not a regular file" in fault("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(), "PNG"))
    path.chmod(0)
    assert "may not be read" in fault(path)


def test_more_bytes_than_allowed_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # sparse: takes no room on the disk
    assert "has 1,073,741,825 bytes, more than the 1,073,741,824 allowed" in fault(path)


@pytest.mark.parametrize("name", ["cell\udcff.png", "a\0b.png", "a\nb.png", "a\x1b[31m.png", "\u202ex"])
def test_odd_names_can_be_printed(name: str) -> None:
    line = fault(name)
    assert "\\" in line
    with pytest.raises(PictureError) as caught:
        decode(b"", name=name)
    clear(caught.value)


def test_unicode_names_are_shown_as_they_are(tmp_path: Path) -> None:
    assert "Zelle-ß-細胞.png" in fault(tmp_path / "Zelle-ß-細胞.png")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "the file is empty" in fault(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"just some text\n", "text"),
        ("{'ä': 1}".encode(), "text"),
        (encode(noise(), "GIF"), "GIF"),
        (encode(noise(), "PDF"), "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (encode(noise(), "PPM"), "not a picture"),
        (encode(noise(), "TGA"), "not a picture"),
        (b"\0\1\2\3", "not a picture"),
    ],
)
def test_other_kinds_are_refused_by_name(data: bytes, kind: str) -> None:
    line = fault_of(data)
    assert f"is {kind}" in line
    assert "give it as BMP, PNG, JPEG, TIFF or WebP" in line


@pytest.mark.parametrize("form", ["BMP", "PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.95])
def test_truncated_pictures_are_not_loaded(form: str, share: float) -> None:
    data = encode(noise(64, 64), form)
    assert "damaged" in fault_of(data[: int(len(data) * share)])


def test_compressed_tiff_truncated() -> None:
    data = encode(noise(64, 64), "TIFF", compression="tiff_lzw")
    assert "damaged" in fault_of(data[: len(data) // 2])


HUGE = {
    "png": png_header(30_000, 30_000),
    "bmp": bmp_header(30_000, 30_000),
    "bmp, top down": bmp_header(30_000, -30_000),
    "jpeg": jpeg_header(30_000, 30_000),
    "tiff": tiff_header(30_000, 30_000),
    "tiff, packed": tiff_header(30_000, 30_000, compression=5),
    "webp": webp_header(30_000, 30_000, b"VP8X"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_huge_pictures_are_refused_on_their_header(kind: str) -> None:
    assert "has 30000 x 30000 pixels, more than the" in fault_of(HUGE[kind])


@pytest.mark.parametrize("chunk", [b"VP8 ", b"VP8L"])
def test_huge_webp_pictures(chunk: bytes) -> None:
    assert "has 16383 x 16383 pixels, more than the 100,000,000 allowed" in fault_of(webp_header(16383, 16383, chunk))


def test_the_size_is_read_from_real_webp_headers() -> None:
    rgba = noise(21, 35, 4)
    rgba[..., 3] //= 2
    files = [encode(noise(21, 35), "WEBP"), encode(noise(21, 35), "WEBP", lossless=True), encode(rgba, "WEBP")]
    assert [data[12:16] for data in files] == [b"VP8 ", b"VP8L", b"VP8X"]
    for data in files:
        assert "has 35 x 21 pixels, more than the 734 allowed" in fault_of(data, max_pixels=734)
        assert decode(data, name="x", max_pixels=735).shape == (21, 35, 3)


@pytest.mark.parametrize("form", ["BMP", "PNG", "JPEG", "TIFF", "WEBP"])
def test_the_bound_is_the_largest_size_allowed(form: str) -> None:
    data = encode(noise(10, 20), form)
    assert decode(data, name="x", max_pixels=200).shape == (10, 20, 3)
    assert "has 20 x 10 pixels, more than the 199 allowed" in fault_of(data, max_pixels=199)


@pytest.mark.parametrize("data", [png_header(9_600, 9_600), bmp_header(9_600, 9_600), jpeg_header(9_600, 9_600)])
def test_no_warning_between_pillows_bound_and_ours(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HERE", 10**9)
    # Image.open would warn here, and a warning is an error in these tests.
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 9_600**2 < 100_000_000
    assert open_header(data, "x", 100_000_000).size == (9_600, 9_600)


def test_the_bound_of_pixels_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    for form in ("BMP", "PNG", "JPEG", "TIFF", "WEBP"):
        assert decode(encode(noise(), form), name="x").shape == (13, 17, 3)
    assert "has 9600 x 9600 pixels, more than the 90,000,000 allowed" in fault_of(
        tiff_header(9_600, 9_600), max_pixels=90_000_000
    )


@pytest.mark.parametrize(
    "data",
    [png_header(0, 5), png_header(5, 0), bmp_header(0, 5), bmp_header(5, 0), jpeg_header(0, 5), tiff_header(0, 5)],
)
def test_sides_of_zero_pixels(data: bytes) -> None:
    assert "header is damaged or names a picture without pixels" in fault_of(data)


@pytest.mark.parametrize(("mode", "words"), [("I", "32-bit integers"), ("LAB", "CIE LAB")])
def test_pixels_without_one_8_bit_form(mode: str, words: str) -> None:
    line = fault_of(encode(Image.new(mode, (4, 4)), "TIFF"))
    assert words in line
    assert "export the picture as 8-bit RGB" in line


@pytest.mark.parametrize(("form", "kind"), [("PNG", "PNG"), ("WEBP", "WebP"), ("TIFF", "TIFF")])
def test_several_pictures_in_one_file(form: str, kind: str) -> None:
    first, *others = (Image.fromarray(noise(seed=seed)) for seed in range(3))
    line = fault_of(encode(first, form, save_all=True, append_images=others))
    assert f"the {kind} file holds 3 pictures; save each picture to a file of its own" in line


def test_tiff_pages_in_a_circle() -> None:
    data = bytearray(tiff_header(4, 4))
    data[-4:] = struct.pack("<I", 8)  # the next page is the first one
    assert decode(bytes(data), name="x").shape == (4, 4, 3)


SEEDS = {
    "bmp": encode(noise(), "BMP"),
    "bmp, palette": encode(Image.fromarray(noise(channels=1)).convert("P"), "BMP"),
    "png": encode(noise(), "PNG"),
    "png, 16 bit": encode(Image.fromarray(noise(channels=1).astype(np.uint16) * 257), "PNG"),
    "png, palette": encode(Image.fromarray(noise()).quantize(9), "PNG", transparency=bytes(range(9))),
    "jpeg": encode(noise(), "JPEG"),
    "jpeg, cmyk": encode(Image.fromarray(noise()).convert("CMYK"), "JPEG"),
    "tiff": encode(noise(), "TIFF"),
    "tiff, lzw": encode(noise(channels=4), "TIFF", compression="tiff_lzw"),
    "webp": encode(noise(), "WEBP"),
    "webp, alpha": encode(noise(channels=4), "WEBP"),
}


def survives(data: bytes) -> None:
    """Either a picture or a clear error, never anything else."""
    try:
        rgb = decode(data, name="cell.png", max_pixels=250_000)
    except PictureError as error:
        clear(error)
    else:
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_files_give_a_picture_or_a_clear_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(SEEDS[kind])
    assert decode(bytes(damaged), name="x").shape == (13, 17, 3)
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers are where the surprises are: half of the changes go there.
        end = data.draw(st.sampled_from([min(64, len(damaged)), len(damaged)]))
        damaged[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(damaged[: data.draw(st.integers(1, len(damaged)))] if data.draw(st.booleans()) else damaged))


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0+", b"RIFFxxxxWEBPVP8X"]),
    rest=st.binary(max_size=200),
)
def test_random_bytes_give_a_clear_error(start: bytes, rest: bytes) -> None:
    survives(start + rest)


def test_a_lone_surrogate_in_a_name() -> None:
    assert "cell\\ud800.png: cannot be read" in fault("cell" + chr(0xD800) + ".png")
