"""Every kind of picture and pixel that is read, against NumPy worked out by hand or Pillow's own conversion."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image, TiffImagePlugin

import leukoscope.cells as cells
from leukoscope.cells import Picture, decode, read_picture
from leukoscope.cells.bitmap import plain_bitmap
from leukoscope.cells.read import open_header

from .files import encode, noise

LOSSLESS = {"BMP": {}, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("form", LOSSLESS)
def test_rgb_is_exact_in_every_lossless_format(form: str) -> None:
    rgb = noise()
    got = decode(encode(rgb, form, **LOSSLESS[form]), name="x")
    assert got.dtype == np.uint8
    assert got.flags.writeable
    np.testing.assert_array_equal(got, rgb)


def test_plain_bitmaps_go_past_the_decoder_and_all_others_do_not() -> None:
    def taken(data: bytes) -> np.ndarray | None:
        return plain_bitmap(open_header(data, "x", 10_000), data)

    rgb = noise()  # 17 px wide: each row is padded by a byte
    plain = encode(rgb, "BMP")
    np.testing.assert_array_equal(taken(plain), rgb)
    np.testing.assert_array_equal(taken(plain + b"tail"), rgb)
    assert taken(plain[:-1]) is None
    assert taken(encode(rgb, "PNG")) is None
    assert taken(encode(rgb[..., 0], "BMP")) is None  # a palette of greys
    upside_down = bytearray(plain)
    upside_down[22:26] = (-13).to_bytes(4, "little", signed=True)  # a negative height: from the top row downwards
    assert taken(bytes(upside_down)) is None
    np.testing.assert_array_equal(decode(bytes(upside_down), name="x"), rgb[::-1])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_compressions(compression: str, big: bool) -> None:
    rgb = noise()
    np.testing.assert_array_equal(decode(encode(rgb, "TIFF", compression=compression, big_tiff=big), name="x"), rgb)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_what_pillow_decodes(progressive: bool) -> None:
    data = encode(noise(40, 56), "JPEG", progressive=progressive)
    np.testing.assert_array_equal(decode(data, name="x"), np.asarray(Image.open(BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("form", ["BMP", "PNG", "TIFF"])
def test_grey(form: str) -> None:
    grey = noise(channels=1)
    np.testing.assert_array_equal(decode(encode(grey, form), name="x"), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("form", ["BMP", "PNG", "TIFF"])
def test_one_bit(form: str) -> None:
    bits = noise(channels=1) > 127
    expected = np.repeat(bits[..., None], 3, axis=2) * np.uint8(255)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(bits), form), name="x"), expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_composited_on_black(form: str) -> None:
    rgba = noise(channels=4)
    rgba[0, :3, 3] = 0, 128, 255
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:].astype(float)
    np.testing.assert_array_equal(decode(encode(rgba, form, **options), name="x"), np.rint(colour * alpha / 255))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_with_alpha(form: str) -> None:
    grey, alpha = noise(channels=1), noise(channels=1, seed=1)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = np.rint(grey.astype(float) * alpha / 255)
    np.testing.assert_array_equal(decode(encode(image, form), name="x"), np.repeat(expected[..., None], 3, axis=2))


def palette_picture() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    index, colours = noise(channels=1) % 5, noise(5, 1, 3, seed=2)[:, 0]
    image = Image.fromarray(index).convert("L")
    image.putpalette(colours.tobytes())
    return image, index, colours


@pytest.mark.parametrize("form", ["BMP", "PNG", "TIFF"])
def test_palette(form: str) -> None:
    image, index, colours = palette_picture()
    assert image.mode == "P"
    np.testing.assert_array_equal(decode(encode(image, form), name="x"), colours[index])


def test_palette_with_one_transparent_colour() -> None:
    image, index, colours = palette_picture()
    colours[3] = 0
    np.testing.assert_array_equal(decode(encode(image, "PNG", transparency=3), name="x"), colours[index])


def test_palette_with_an_alpha_for_each_colour() -> None:
    image, index, colours = palette_picture()
    alphas = np.array([0, 60, 128, 255, 200])
    expected = np.rint(colours * alphas[:, None] / 255)[index]
    np.testing.assert_array_equal(decode(encode(image, "PNG", transparency=bytes(alphas.tolist())), name="x"), expected)


def test_grey_and_rgb_with_a_transparent_colour() -> None:
    grey = np.full((4, 4), 90, np.uint8)
    grey[1] = 200
    assert decode(encode(grey, "PNG", transparency=200), name="x")[:, 0, 0].tolist() == [90, 0, 90, 90]
    rgb = np.repeat(grey[..., None], 3, axis=2)
    data = encode(rgb, "PNG", transparency=(200, 200, 200))
    assert decode(data, name="x")[:, 0, 0].tolist() == [90, 0, 90, 90]


LEVELS = np.array([[0, 128, 129, 385, 386, 32768, 65406, 65407, 65535]], np.uint16)
EXPECTED = [round(value / 257) for value in LEVELS[0].tolist()]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_257_and_rounded(form: str) -> None:
    got = decode(encode(Image.fromarray(LEVELS), form), name="x")
    assert got[0, :, 0].tolist() == got[0, :, 2].tolist() == EXPECTED
    assert (EXPECTED[0], EXPECTED[-1]) == (0, 255)


def test_16_bit_grey_of_the_other_byte_order() -> None:
    image = Image.frombytes("I;16B", (LEVELS.shape[1], 1), LEVELS.astype(">u2").tobytes())
    assert decode(encode(image, "TIFF"), name="x")[0, :, 1].tolist() == EXPECTED


def test_16_bit_grey_with_a_transparent_level() -> None:
    values = np.array([[1000, 40000, 65535]], np.uint16)
    got = decode(encode(Image.fromarray(values), "PNG", transparency=40000), name="x")
    assert got[0, :, 0].tolist() == [4, 0, 255]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_of_16_bit_colour_the_high_byte_is_kept(suffix: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    done, data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]))
    assert done
    np.testing.assert_array_equal(decode(data.tobytes(), name="x"), rgb >> 8)


@pytest.mark.parametrize(("mode", "form"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")])
def test_other_colour_spaces_as_pillow_converts_them(mode: str, form: str) -> None:
    data = encode(Image.fromarray(noise(32, 48)).convert(mode), form)
    with Image.open(BytesIO(data)) as image:
        if image.mode != mode:
            pytest.skip(f"this Pillow ({PIL.__version__}) cannot read back the {mode} {form} that it writes")
        np.testing.assert_array_equal(decode(data, name="x"), np.asarray(image.convert("RGB")))


def test_ycbcr_jpeg_of_one_colour_keeps_it() -> None:
    rgb = np.full((32, 32, 3), (96, 40, 120), np.uint8)
    assert np.abs(decode(encode(rgb, "JPEG", quality=95), name="x").astype(int) - rgb).max() <= 3


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(form: str, orientation: int) -> None:
    rgb, exif = noise(), Image.Exif()
    exif[0x0112] = orientation
    got = decode(encode(rgb, form, exif=exif, **LOSSLESS[form]), name="x")
    np.testing.assert_array_equal(got, TURNED[orientation](rgb))


def test_exif_orientation_of_compressed_tiff_and_of_jpeg() -> None:
    rgb, exif = noise(16, 32), Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(
        decode(encode(rgb, "TIFF", exif=exif, compression="tiff_lzw"), name="x"), np.rot90(rgb, -1)
    )
    plain, turned = encode(rgb, "JPEG"), encode(rgb, "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(turned, name="x"), np.rot90(decode(plain, name="x"), -1))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_out_of_range_is_ignored(value: int) -> None:
    rgb, exif = noise(), Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(decode(encode(rgb, "PNG", exif=exif), name="x"), rgb)


def test_damaged_exif_costs_the_orientation_and_not_the_picture() -> None:
    rgb = noise()
    data = encode(rgb, "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    np.testing.assert_array_equal(decode(data, name="x"), rgb)


def test_of_a_jpeg_with_appended_pictures_the_first_is_read() -> None:
    first, second = (Image.fromarray(noise(24, 24, seed=seed)) for seed in (0, 1))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    with Image.open(BytesIO(data)) as image:
        assert image.format == "MPO"
        np.testing.assert_array_equal(decode(data, name="x"), np.asarray(image.convert("RGB")))


def test_tiff_metadata_do_not_matter() -> None:
    rgb, info = noise(), TiffImagePlugin.ImageFileDirectory_v2()
    info[270], info[305], info[65000] = "a cell\nof a smear", "microscope", b"private"
    np.testing.assert_array_equal(decode(encode(rgb, "TIFF", tiffinfo=info), name="x"), rgb)


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    rgb = noise()
    path = tmp_path / "cell.jpg"
    path.write_bytes(encode(rgb, "BMP"))
    np.testing.assert_array_equal(read_picture(path).rgb, rgb)


def test_picture_knows_its_path_and_the_hash_of_its_file(tmp_path: Path) -> None:
    data = encode(noise(), "PNG")
    path = tmp_path / "cell.png"
    path.write_bytes(data)
    picture = read_picture(path)
    assert isinstance(picture, Picture)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert picture.path == str(path)
    with pytest.raises(AttributeError):
        picture.path = "other"  # type: ignore[misc]


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(), "PNG"))
    (tmp_path / "b.png").symlink_to("a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").rgb, noise())


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes exist on Linux only")
def test_a_name_of_undecodable_bytes_is_read(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/cell\xff\xe9.png")
    Path(name).write_bytes(encode(noise(), "PNG"))
    assert read_picture(name).path == name


def test_threads_decode_at_once() -> None:
    pictures = [noise(60, 60, seed=seed) for seed in range(24)]
    files = [encode(rgb, form, **LOSSLESS[form]) for rgb, form in zip(pictures, [*LOSSLESS] * 6, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        for got, rgb in zip(pool.map(lambda data: decode(data, name="x"), files), pictures, strict=True):
            np.testing.assert_array_equal(got, rgb)


def test_public_names() -> None:
    assert all(hasattr(cells, name) for name in cells.__all__)
    code = "import sys, leukoscope.cells; sys.exit(any(m in sys.modules for m in ('torch', 'onnxruntime', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
def test_original_bitmaps_as_pillow_opens_them(real_data: Path) -> None:
    paths = sorted((real_data / "cnmc2019-originals").rglob("*.bmp"))[::10]
    assert paths
    for path in paths:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_picture(path).rgb, np.asarray(image.convert("RGB")))
