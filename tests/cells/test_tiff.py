"""TIFF of every kind that is met, written by tifffile and by hand; pixels against those written, or tifffile's own."""

from __future__ import annotations

import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from leukoscope.cells import decode
from leukoscope.errors import PictureError

from .files import encode, noise

tifffile = pytest.importorskip("tifffile", reason="an independent writer and reader of TIFF is needed")


def cell(side: int = 90) -> np.ndarray:
    rgb = np.zeros((side, side + 6, 3), np.uint8)
    cv2.circle(rgb, (side // 2, side // 2), side // 3, (110, 70, 150), -1)
    rgb[20:40, 30:60] = noise(20, 30)
    return rgb


def written(*pictures: np.ndarray, first: dict[str, Any] | None = None, **options: Any) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(
        buffer, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")
    ) as t:
        for number, picture in enumerate(pictures):
            t.write(picture, **{"metadata": None, **options, **((first or {}) if number == 0 else {})})
    return buffer.getvalue()


def fault_of(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, name="cell.tif")
    assert caught.value.remedy
    assert "header is damaged" not in str(caught.value)
    return str(caught.value)


LOSSLESS = ["none", "lzw", "deflate", "packbits"]
LAYOUTS = {
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "tiles": {"tile": (32, 48)},
    "planes": {"planarconfig": "separate"},
    "planes in tiles": {"planarconfig": "separate", "tile": (16, 32)},
}


@pytest.mark.parametrize("compression", LOSSLESS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("big", "order"), [(False, "<"), (True, ">"), (False, ">")])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_written_is_read(compression: str, layout: str, big: bool, order: str, dtype: str) -> None:
    rgb = cell() if dtype == "uint8" else cell().astype(np.uint16) * 257
    options = dict(LAYOUTS[layout])
    separate = options.get("planarconfig") == "separate"
    data = written(
        np.moveaxis(rgb, 2, 0) if separate else rgb, photometric="rgb", bigtiff=big, byteorder=order,
        compression=compression, **options,
    )  # fmt: skip
    np.testing.assert_array_equal(decode(data, name="x"), cell())


@pytest.mark.parametrize("compression", ["lzw", "deflate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_predictors(compression: str, dtype: str) -> None:
    values = {"uint8": cell(), "uint16": cell().astype(np.uint16) * 257}.get(dtype, (cell() / 255).astype(dtype))
    data = written(values, photometric="rgb", compression=compression, predictor=True)
    np.testing.assert_array_equal(decode(data, name="x"), cell())


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
@pytest.mark.parametrize("width", [1, 5, 8])
def test_lzw_of_odd_and_even_sizes(rows: int, width: int) -> None:
    rgb = noise(11, width)
    data = written(rgb, photometric="rgb", compression="lzw", rowsperstrip=rows)
    np.testing.assert_array_equal(decode(data, name="x"), rgb)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
@pytest.mark.parametrize("layout", ["one strip", "tiles"])
def test_pictures_within_tiff_as_tifffile_reads_them(compression: str, layout: str) -> None:
    rgb = cv2.GaussianBlur(cell(), (0, 0), 2)
    data = written(rgb, photometric="rgb", compression=compression, **LAYOUTS[layout])
    expected = tifffile.imread(BytesIO(data)).astype(int)
    got = decode(data, name="x").astype(int)
    assert np.abs(got - expected).max() <= 2  # two JPEG libraries may round apart
    assert np.abs(got - rgb).mean() < 4


def test_jpeg_in_ycbcr_with_common_tables_as_pillow_reads_it() -> None:
    rgb = cv2.GaussianBlur(cell(), (0, 0), 2)
    data = encode(rgb, "TIFF", compression="jpeg", quality=95)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(decode(data, name="x").astype(int) - expected).max() <= 3


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_16(bits: int) -> None:
    values = np.rint(cell() / 255 * (2**bits - 1)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    got = decode(written(values, photometric="rgb"), name="x").astype(int)
    assert np.abs(got[1:] - cell()[1:].astype(int)).max() <= 1


def test_the_range_that_ome_names_is_believed() -> None:
    told = '<OME><Pixels SizeC="3" SignificantBits="12"/></OME>'
    data = written(np.full((4, 4, 3), 1000, np.uint16), photometric="rgb", description=told)
    assert decode(data, name="x")[0, 0].tolist() == [62, 62, 62]  # 1000 * 255 / 4095 = 62.3
    assert decode(written(np.full((4, 4, 3), 1000, np.uint16), photometric="rgb"), name="x")[0, 0, 0] == 249


def test_floats() -> None:
    one = (cell() / 255).astype(np.float32)
    np.testing.assert_array_equal(decode(written(one, photometric="rgb"), name="x"), cell())
    np.testing.assert_array_equal(decode(written(one.astype(np.float16), photometric="rgb"), name="x"), cell())
    np.testing.assert_array_equal(decode(written(cell().astype(np.float32), photometric="rgb"), name="x"), cell())
    for odd in (one * 300, one - 0.5, np.where(one > 0, one, np.nan).astype(np.float32)):
        assert "32-bit floats from" in fault_of(written(odd, photometric="rgb"))


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_fourth_band(kind: str, dtype: str) -> None:
    alpha = np.full((*cell().shape[:2], 1), 255, np.uint8)
    alpha[:30] = 128
    rgba = np.concatenate([cell(), alpha], 2)
    stored = rgba if dtype == "uint8" else rgba.astype(np.uint16) * 257
    got = decode(written(stored, photometric="rgb", extrasamples=[kind]), name="x")
    expected = np.rint(cell() * (alpha / 255)) if kind == "unassalpha" else cell()
    np.testing.assert_array_equal(got, expected)


def test_alpha_of_0_everywhere_is_no_transparency() -> None:
    rgba = np.concatenate([cell(), np.zeros((*cell().shape[:2], 1), np.uint8)], 2)
    np.testing.assert_array_equal(
        decode(written(rgba, photometric="rgb", extrasamples=["unassalpha"]), name="x"), cell()
    )
    np.testing.assert_array_equal(decode(encode(rgba, "PNG"), name="x"), cell())


def test_five_bands_of_which_three_are_colours() -> None:
    five = np.dstack([cell(), cell()[..., :2]])
    data = written(five, photometric="rgb", extrasamples=["unspecified"] * 2)
    np.testing.assert_array_equal(decode(data, name="x"), cell())
    assert "has 5 bands" in fault_of(written(five, photometric="minisblack", planarconfig="contig"))


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_thumbnails_and_levels_of_a_pyramid_are_passed_over(flagged: bool, reverse: bool) -> None:
    levels = [cell(), cell()[::2, ::2].copy(), cell()[::4, ::4].copy()]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for level in levels[::-1] if reverse else levels:
            small = flagged and len(level) < len(levels[0])
            file.write(level, photometric="rgb", metadata=None, subfiletype=int(small))
    np.testing.assert_array_equal(decode(buffer.getvalue(), name="x"), cell())


def test_two_pictures_are_two() -> None:
    assert "holds 2 pictures" in fault_of(written(cell(), cell(), photometric="rgb"))
    assert "holds 2 pictures" in fault_of(written(cell(), cell(80), photometric="rgb"))
    assert "holds 3 pictures" in fault_of(written(*[cell()[..., 0].copy()] * 3, photometric="minisblack"))


@pytest.mark.parametrize("options", [{"ome": True, "metadata": {"axes": "CYX"}}, {"imagej": True}])
def test_three_planes_are_red_green_and_blue(options: dict[str, Any]) -> None:
    buffer = BytesIO()
    metadata = options.pop("metadata", {"axes": "CYX", "mode": "composite"})
    tifffile.imwrite(buffer, np.moveaxis(cell(), 2, 0), photometric="minisblack", metadata=metadata, **options)
    np.testing.assert_array_equal(decode(buffer.getvalue(), name="x"), cell())


def test_other_colours() -> None:
    grey = cell()[..., 0].copy()
    three = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(decode(written(grey, photometric="minisblack"), name="x"), three)
    np.testing.assert_array_equal(decode(written(255 - grey, photometric="miniswhite"), name="x"), three)
    colours = noise(256, 1, seed=3)[:, 0].astype(np.uint16) * 256
    palette = written(grey, photometric="palette", colormap=colours.T.copy())
    np.testing.assert_array_equal(decode(palette, name="x"), (colours >> 8).astype(np.uint8)[grey])
    cmyk = noise(9, 7, 4)
    expected = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    np.testing.assert_array_equal(decode(written(cmyk, photometric="separated"), name="x"), expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (9, 13))
    lines = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].reshape(9, -1)
    packed = np.packbits(lines, axis=1)
    data = by_hand(13, 9, bits, packed.tobytes())
    got = decode(data, name="x")
    np.testing.assert_array_equal(got[..., 1], np.rint(values * 255 / (2**bits - 1)))


def by_hand(width: int, height: int, bits: int, body: bytes, **other: int) -> bytes:
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(body)}
    tags |= {int(name[1:]): value for name, value in other.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    body += b"\0" * (len(body) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"t259": 4}, "CCITT fax"),
        ({"t259": 6}, "old-style JPEG"),
        ({"t259": 50000}, "Zstandard"),
        ({"t259": 4711}, "method 4711"),
        ({"t262": 32803}, "a sensor's mosaic"),
        ({"t262": 8}, "CIE LAB"),
        ({"t339": 2}, "integers with a sign"),
        ({"t258": 32}, "32-bit integers"),
        ({"t277": 900}, "has 900 bands"),
    ],
)
def test_kinds_that_are_not_read_are_named(tags: dict[str, int], words: str) -> None:
    line = fault_of(by_hand(4, 4, 8, bytes(64), **tags))
    assert words in line
    assert "export the picture as 8-bit RGB" in line


@pytest.mark.parametrize("compression", [*LOSSLESS, "jpeg", "jpeg2000", "webp"])
def test_cut_short_or_altered_it_is_said(compression: str) -> None:
    data = written(noise(64, 64), photometric="rgb", compression=compression, rowsperstrip=64)
    with tifffile.TiffFile(BytesIO(data)) as file:
        start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    assert start + length == len(data)  # the pixels lie last
    assert "damaged or cut short" in fault_of(data[: start + length // 2])


def test_nothing_is_said_on_the_terminal_but_by_us(tmp_path: Path) -> None:
    """Each of these made libtiff, OpenCV or Pillow write lines without the file's name."""
    lzw = written(noise(64, 64), photometric="rgb", compression="lzw", rowsperstrip=64)
    files = {"short": lzw[: len(lzw) // 2], "odd": by_hand(4, 4, 8, bytes(16), t65000=7, t339=1), "whole": lzw}
    rgb = np.array(list(lzw), np.uint8)
    rgb[3000:3050] = 0
    files["altered"] = rgb.tobytes()
    exif = encode(noise(), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    files["exif"] = exif
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import sys\nfrom leukoscope.cells import read_picture\nfrom leukoscope.errors import PictureError\n"
        "for path in sys.argv[1:]:\n  try: read_picture(path)\n  except PictureError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(tmp_path / name) for name in files)], capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")


MASKS = {
    "usual": (32, (0xFF0000, 0xFF00, 0xFF)),
    "swapped": (32, (0xFF, 0xFF00, 0xFF0000)),
    "upper": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "ten bits": (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("down", [True, False])
def test_bitmaps_of_unusual_masks(masks: str, down: bool) -> None:
    bits, fields = MASKS[masks]
    rgb = noise(5, 7)
    pixels = np.zeros((5, 7), np.uint32)
    for channel, field in enumerate(fields):
        shift = (field & -field).bit_length() - 1
        pixels |= (np.rint(rgb[..., channel] * ((field >> shift) / 255)).astype(np.uint32)) << shift
    rows = pixels.astype(f"<u{bits // 8}")
    lines = b"".join((line.tobytes() + bytes(3))[: (7 * bits // 8 + 3) // 4 * 4] for line in rows)
    info = struct.pack("<IiiHHIIiiII", 40, 7, -5 if down else 5, 1, bits, 3, len(lines), 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 66 + len(lines), 0, 0, 66) + info + struct.pack("<3I", *fields) + lines
    got = decode(data, name="x").astype(int)
    expected = rgb if down else rgb[::-1]
    assert np.abs(got - expected).max() <= (8 if bits == 16 else 1)


def test_a_bitmap_whose_fourth_byte_is_0() -> None:
    rgb = noise(5, 7)
    lines = np.dstack([rgb[..., ::-1], np.zeros((5, 7, 1), np.uint8)])[::-1].tobytes()
    for header, fields in ((40, b""), (108, struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52))):
        info = struct.pack("<IiiHHIIiiII", header, 7, 5, 1, 32, 3 if fields else 0, len(lines), 0, 0, 0, 0) + fields
        data = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(lines), 0, 0, 14 + len(info)) + info + lines
        np.testing.assert_array_equal(decode(data, name="x"), rgb)


@pytest.mark.parametrize("kind", [11, 9])
def test_places_of_strips_that_are_no_whole_numbers(kind: int) -> None:
    """Two of 50,000 altered files had them as floats."""
    data = bytearray(encode(noise(), "TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    (entry,) = (at for at in range(start + 2, len(data) - 12, 12) if struct.unpack_from("<H", data, at)[0] == 273)
    struct.pack_into("<HIi", data, entry + 2, kind, 1, -8)
    with pytest.raises(PictureError, match="no whole numbers"):
        decode(bytes(data), name="x")
