"""The test vectors of docs/bundle.md, which other runtimes are held to."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from leukoscope.cells.frame import frame_cell

PAGE = Path(__file__).parents[2] / "docs" / "bundle.md"
ROW = re.compile(r"^\| (\d+) x (\d+) \| ([^|]+) \| ([^|]+) \| (\d+) \| `(\w{64})` \| `(\w{64})` \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def discs(text: str) -> list[list[int]]:
    return [] if text == "-" else [[int(number) for number in disc.split(",")] for disc in text.split()]


@pytest.mark.parametrize("row", ROWS)
def test_a_frame_is_that_of_the_page(row: tuple[str, ...]) -> None:
    width, height, size = int(row[0]), int(row[1]), int(row[4])
    y, x = np.mgrid[:height, :width]
    lit = np.zeros((height, width), bool)
    for cx, cy, r in discs(row[2]):
        lit |= (x - cx) ** 2 + (y - cy) ** 2 <= r * r
    for cx, cy, r in discs(row[3]):
        lit &= (x - cx) ** 2 + (y - cy) ** 2 > r * r
    rgb = (np.stack([50 + x % 100, 40 + y % 90, 60 + (x * y) % 120], axis=2) * lit[..., None]).astype(np.uint8)
    assert hashlib.sha256(rgb.tobytes()).hexdigest() == row[5]
    assert hashlib.sha256(frame_cell(rgb, size).tobytes()).hexdigest() == row[6]


def test_the_page_has_vectors() -> None:
    assert len(ROWS) == 5
