"""What `fuzz` alters of pictures: sound files of five formats, made here by a seed, and how bytes are altered."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.read import decode
from leukoscope.datasets.synthetic import render_cell

_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Alter = Callable[[np.random.Generator, bytes], bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        sound: gives sound files, of the sizes that laboratories have where that is asked for.
        alter: one of them.
        read: the bytes of one, which may be written into a folder; returns or raises.
    """

    sound: Callable[[bool], list[bytes]]
    alter: Alter
    read: Callable[[bytes, Path], object]

    def altered(self, number: int, seed: int, sound: list[bytes]) -> bytes:
        """The file of this number."""
        rng = np.random.default_rng((seed, number))
        return self.alter(rng, sound[rng.integers(len(sound))])


def altered_bytes(rng: np.random.Generator, sound: bytes, *, tail: bool = False) -> bytes:
    """Bytes changed, cut out, doubled; mostly at the beginning, or with ``tail`` at the end as often."""
    data = bytearray(sound)
    for _ in range(int(rng.integers(1, 6))):
        if len(data) < 8:
            break
        end = len(data) if rng.random() < 0.5 else min(len(data), 128)
        at_end = tail and rng.random() < 0.5
        place = int(rng.integers(max(1, len(data) - 250), len(data)) if at_end else rng.integers(0, end))
        way = rng.integers(5)
        if way == 0:
            data[place] = int(rng.integers(256))
        elif way == 1:
            data[place] ^= 1 << int(rng.integers(8))
        elif way == 2:
            size = int(rng.choice([2, 4]))
            value = int(rng.choice(_EXTREME)) & (256**size - 1)
            data[place : place + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
        elif way == 3:
            del data[place : place + int(rng.integers(1, 64))]
        else:
            part = data[place : place + int(rng.integers(1, 64))]
            where = int(rng.integers(0, len(data)))
            data[where:where] = part
    if rng.random() < 0.2:
        data = data[: int(rng.integers(0, len(data) + 1))]
    return bytes(data)


def _alter_png(rng: np.random.Generator, sound: bytes) -> bytes:
    data = altered_bytes(rng, sound)
    return checksummed(data) if rng.random() < 0.5 else data  # else nearly all end at their first checksum


def checksummed(data: bytes) -> bytes:
    """A PNG whose checksums are right again, as far as its chunks can be followed."""
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        end = place + 8 + int.from_bytes(out[place : place + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(out)


def _alter_tiff(rng: np.random.Generator, sound: bytes) -> bytes:
    return altered_bytes(rng, sound, tail=True)  # where its tags lie


def _read(data: bytes, _folder: Path) -> NDArray[np.uint8]:
    rgb = decode(data, name="a file")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise TypeError("no picture")
    return rgb


def _small() -> NDArray[np.uint8]:
    """A disc with a speckled middle, 120 x 140 px."""
    rgb = np.zeros((120, 140, 3), np.uint8)
    cv2.circle(rgb, (70, 60), 45, (110, 70, 150), -1)
    rgb[40:80, 50:90] += np.random.default_rng(0).integers(0, 60, (40, 40, 3), dtype=np.uint8)
    return rgb


def _real_sizes() -> list[NDArray[np.uint8]]:
    """A cell on black of 450 px, a crop of 300 px with its surroundings, and a field of 1944 x 2592 px, rendered."""
    cell = render_cell(0, "blast")
    field = np.full((1944, 2592, 3), (225, 215, 220), np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(400):
        x, y = int(rng.integers(0, 2592)), int(rng.integers(0, 1944))
        cv2.circle(field, (x, y), 38, (214, 150, 160), -1)
    for seed in range(6):
        one = cv2.resize(render_cell(seed, "blast" if seed % 2 else "normal"), (150, 150), interpolation=cv2.INTER_AREA)
        top, left = int(rng.integers(0, 1794)), int(rng.integers(0, 2442))
        part = field[top : top + 150, left : left + 150]
        part[:] = np.where(one.any(axis=2, keepdims=True), one, part)
    field = np.clip(field + rng.normal(0, 3, field.shape), 0, 255).astype(np.uint8)
    return [cell, np.ascontiguousarray(field[800:1100, 900:1200]), field]


def _files(kind: str, large: bool) -> list[bytes]:
    if large:
        cell, crop, field = _real_sizes()
        found = _of(kind, cell) + _of(kind, crop)
        return 4 * found + [_encoded(field, kind)]  # each of the smaller ones some times more often than the field
    return _of(kind, _small())


def _of(kind: str, rgb: NDArray[np.uint8]) -> list[bytes]:
    """The picture as all the forms that a format has for it."""
    alpha = np.dstack([rgb, np.where(rgb.any(axis=2), 255, 0).astype(np.uint8)])
    grey, deep = rgb[..., 1].copy(), rgb[..., 1].astype(np.uint16) * 257
    palette = Image.fromarray(rgb).quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "BMP":
        return [_encoded(x, kind) for x in (rgb, grey, palette, alpha)]
    if kind == "PNG":
        return [_encoded(x, kind, exif=exif) for x in (rgb, grey, alpha, deep, palette)]
    if kind == "JPEG":
        return [_encoded(rgb, kind, exif=exif), _encoded(rgb, kind, progressive=True), _encoded(grey, kind),
                _encoded(Image.fromarray(rgb).convert("CMYK"), kind)]  # fmt: skip
    if kind == "TIFF":
        return [
            _encoded(x, kind, compression=packing, big_tiff=big)
            for x in (rgb, alpha, deep, palette)
            for packing in ("raw", "tiff_lzw", "tiff_deflate", "packbits")
            for big in (False, True)
        ] + [_encoded(rgb, kind, compression="jpeg")]
    return [_encoded(rgb, kind, exif=exif), _encoded(alpha, kind), _encoded(rgb, kind, lossless=True)]


def _encoded(picture: Any, kind: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _kind(name: str, alter: Alter) -> Kind:
    return Kind(lambda large: _files(name, large), alter, _read)


PICTURES = {
    "bmp": _kind("BMP", altered_bytes),
    "png": _kind("PNG", _alter_png),
    "jpeg": _kind("JPEG", altered_bytes),
    "tiff": _kind("TIFF", _alter_tiff),
    "webp": _kind("WEBP", altered_bytes),
}
