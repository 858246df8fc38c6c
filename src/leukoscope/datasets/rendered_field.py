"""A rendered field of a smear: red cells side by side, and rendered white cells among them. Of nobody, for trying out.

Sizes are those of a smear photographed at the scale and in the light of C-NMC 2019, so that its white cells are those
which `draw_cell` draws. Nothing is copied from a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.drawing import draw_cell
from leukoscope.datasets.synthetic import Kind
from leukoscope.errors import DataError

RED_CELL: Final = (
    153.0,
    0.05,
)  # pixels across: 7.5 micrometres at the scale of the white cells, and the standard deviation of the logarithm
GROUND: Final = (168.0, 160.0, 172.0)
_RED: Final = (142.0, 112.0, 128.0)  # a red cell at its rim; its middle is paler
_CELL: Final = 450  # side of a rendered white cell


def render_field(
    seed: int, kinds: Sequence[Kind], *, height: int = 1800, width: int = 2400
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Draw a field with one white cell of each of ``kinds``, where they do not touch, and red cells between.

    Args:
        seed: not negative; the same arguments give the same picture.
        kinds: `blast` or `normal`, one for each white cell.
        height: of the field as it is drawn, in pixels of the white cells' scale.
        width: of the field as it is drawn.

    Returns:
        uint8 RGB [height // 2, width // 2, 3], as a lens of half the power shows it, and the middle (x, y) of each
        white cell in it, in the order of ``kinds``.

    Raises:
        DataError: so many white cells do not fit side by side.
    """
    rng = np.random.default_rng((seed, 3))
    columns, rows = width // 400, height // 400
    if len(kinds) > columns * rows:
        raise DataError(f"{len(kinds)} white cells do not fit", remedy=f"ask for {columns * rows} at most")
    field = np.empty((height, width, 3), np.float32)
    field[:] = GROUND
    slots = rng.permutation(columns * rows)[: len(kinds)]
    places = [
        (int((slot % columns + 0.5) * width / columns), int((slot // columns + 0.5) * height / rows)) for slot in slots
    ]
    taken = [(x, y, 150.0) for x, y in places]
    for _ in range(6 * height * width // int(RED_CELL[0] ** 2)):
        radius = RED_CELL[0] / 2 * np.exp(RED_CELL[1] * rng.standard_normal())
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if all(np.hypot(x - a, y - b) > radius + reach + 3 for a, b, reach in taken):
            taken.append((x, y, radius))
            _red_cell(field, rng, x, y, radius)
    for number, (kind, (x, y)) in enumerate(zip(kinds, places, strict=True)):
        cell = draw_cell(seed * 1000 + number, kind, size=_CELL)
        top, left = y - _CELL // 2, x - _CELL // 2
        inside = np.s_[max(0, -top) : min(_CELL, height - top), max(0, -left) : min(_CELL, width - left)]
        window = field[max(0, top) : top + _CELL, max(0, left) : left + _CELL]
        lit = cv2.GaussianBlur((cell.max(axis=2) > 0).astype(np.float32), (0, 0), 0.8)[inside][..., None]
        window += lit * (cell[inside] - window)
    sharp = cv2.GaussianBlur(field, (0, 0), 0.8)
    half = cv2.resize(sharp, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    seen = np.asarray(half, np.float64) + rng.normal(0, 1.0, (height // 2, width // 2, 3))
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8), [(x // 2, y // 2) for x, y in places]


def _red_cell(field: NDArray[np.float32], rng: np.random.Generator, x: float, y: float, radius: float) -> None:
    """A disc a little out of round, paler in its middle."""
    reach = int(radius * 1.2) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    window = field[top : int(y) + reach, left : int(x) + reach]
    rows, columns = np.mgrid[top : top + window.shape[0], left : left + window.shape[1]]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(0.95, 1.05)
    across = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    along = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    away = np.hypot(across * stretch, along / stretch) / radius
    cover = np.clip((1 - away) * radius, 0, 1) * (1 - 0.55 * np.exp(-((away / 0.42) ** 2)))
    window += cover[..., None] * (np.array(_RED, np.float32) * rng.normal(1, 0.02) - window)
