"""Small pictures for the tests of this room: a disc on black, unlike for every number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def disc(number: int, size: int = 64) -> NDArray[np.uint8]:
    """A cell-like disc on pure black, uint8 [size, size, 3]."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] - size // 2
    inside = y**2 + x**2 < (size * (0.25 + 0.02 * (number % 8))) ** 2
    colour = rng.integers(60, 250, 3)
    rgb = np.where(inside[..., None], colour + rng.integers(-20, 6, (size, size, 3)), 0)
    return rgb.astype(np.uint8)


def write_disc(path: Path, number: int = 0, size: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(disc(number, size)).save(path)
    return path


def write_class_folders(root: Path, count: int) -> Path:
    """`blast/pK/*.png` and `normal/pK/*.png`, ``count`` pictures in all, three for each subject."""
    for number in range(count):
        word = ("blast", "normal")[number % 2]
        write_disc(root / word / f"{word[0]}{number // 6}" / f"{number:03d}.png", number)
    return root
