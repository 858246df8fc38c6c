"""Pictures in the layouts of ALL-IDB1 and ALL-IDB2, with their traps: rendered cells among red ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.datasets.synthetic import render_cell

SIDE = 257
PLASMA, RED = (226, 214, 220), (196, 150, 160)

#: Name, size, centres of the blasts. Im001 to Im033 and Im037 have sizes of their own.
FIELDS: tuple[tuple[str, tuple[int, int], tuple[tuple[int, int], ...]], ...] = (
    ("Im001_1", (1712, 1368), ((400, 500), (1200, 300))),
    ("Im002_1", (1712, 1368), ((300, 900),)),
    ("Im033_1", (1712, 1368), ((1640, 1300),)),  # near the corner
    ("Im034_0", (2592, 1944), ()),
    ("Im037_0", (1226, 652), ()),
    ("Im055_0", (2592, 1944), ()),
    ("Im060_1", (2592, 1944), ((700, 700),)),
    ("Im093_0", (2592, 1944), ()),
    ("Im108_0", (2592, 1944), ()),  # the pixels of Im093_0
)
CELLS = (*(f"Im{n:03d}_1" for n in range(1, 7)), *(f"Im{n:03d}_0" for n in (131, 132, 133, 134, 223, 257)))
SMALLER = ("Im006_1", "Im134_0")
SAME = {"Im108_0": "Im093_0", "Im257_0": "Im223_0"}


def crop(seed: int, blast: bool, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A white cell with its surroundings, uint8 [side, side, 3], and its mask."""
    picture = smear(np.random.default_rng(seed), side, side, 6)
    mask = put_cell(picture, side // 2, side // 2, seed, blast)
    return picture, mask


def smear(random: np.random.Generator, width: int, height: int, cells: int) -> NDArray[np.uint8]:
    """Plasma with red cells, uint8 [height, width, 3]."""
    picture = np.full((height, width, 3), PLASMA, np.uint8)
    for x, y in random.integers(0, (width, height), (cells, 2)).tolist():
        if np.hypot(x - width / 2, y - height / 2) > 135:  # so that none touches the cell in the middle of a crop
            cv2.circle(picture, (x, y), 32, RED, -1, cv2.LINE_AA)
    noise = np.tile(random.integers(-4, 5, (64, 64, 1), np.int8), (-(-height // 64), -(-width // 64), 1))
    return np.asarray(cv2.add(picture, noise[:height, :width].repeat(3, 2), dtype=cv2.CV_8U), np.uint8)


def put_cell(picture: NDArray[np.uint8], x: int, y: int, seed: int, blast: bool) -> NDArray[np.bool_]:
    """Draw a rendered cell with its middle at (x, y), as far as it fits; its mask in the picture."""
    cell = render_cell(seed, "blast" if blast else "normal", size=240)
    top, left = y - 120, x - 120
    inside = np.s_[max(0, top) : top + 240, max(0, left) : left + 240]
    window = picture[inside]
    part = cell[max(0, -top) :, max(0, -left) :][: window.shape[0], : window.shape[1]]
    mask = part.any(axis=2)
    window[mask] = np.clip(part[mask] * 1.5, 0, 255)
    whole = np.zeros(picture.shape[:2], bool)
    whole[inside] = mask
    return whole


def write_allidb1(root: Path) -> Path:
    """`im/*.jpg` and `xyc/*.xyc` under ``root``; blank lines before, within and after the lists."""
    (root / "im").mkdir(parents=True)
    (root / "xyc").mkdir()
    for number, (name, (width, height), centres) in enumerate(FIELDS):
        target = root / "im" / f"{name}.jpg"
        if name in SAME:
            target.write_bytes((root / "im" / f"{SAME[name]}.jpg").read_bytes())
        else:
            picture = smear(np.random.default_rng(number), width, height, 40)
            for turn, (x, y) in enumerate(centres):
                put_cell(picture, x, y, 10 * number + turn, blast=True)
            Image.fromarray(picture).save(target, quality=90)
        lines = "\n\n".join(f"{x}\t{y}" for x, y in centres)
        (root / "xyc" / f"{name}.xyc").write_text(f"\n{lines}\r\n\n" if centres else "")
    return root


def write_allidb2(root: Path) -> Path:
    """`img/*.tif` under ``root``."""
    (root / "img").mkdir(parents=True)
    for number, name in enumerate(CELLS):
        target = root / "img" / f"{name}.tif"
        if name in SAME:
            with Image.open(root / "img" / f"{SAME[name]}.tif") as same:
                same.save(target, compression="tiff_lzw")  # other bytes, the same pixels
        else:
            rgb, _ = crop(number, name.endswith("1"), 215 if name in SMALLER else SIDE)
            Image.fromarray(rgb).save(target)
    return root
