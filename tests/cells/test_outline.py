"""The outline around a nucleus: against brute force, and of painted cells whose outline is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.cells import outline
from leukoscope.cells.outline import outline_around, solidity

GROUND, CYTOPLASM, NUCLEUS, RED_CELL = (235, 228, 222), (190, 175, 205), (95, 45, 130), (205, 150, 148)


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def ellipse(side: int, x: float, y: float, a: float, b: float, turn: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    u = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    v = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def painted(*layers: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    picture = np.full((*layers[0][0].shape, 3), GROUND, np.float32)
    for mask, colour in layers:
        picture[mask] = colour
    noisy = cv2.GaussianBlur(picture, (0, 0), 1) + np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def brute_force(gain: np.ndarray) -> np.ndarray:
    """The closed curve of the largest sum, of all that there are."""
    rays, places = gain.shape
    curves = np.array(list(product(range(places), repeat=rays)))
    bends = np.roll(curves, -1, axis=1) - curves
    price = outline._BEND * np.abs(bends) + outline._TURN * bends**2
    total = gain[np.arange(rays), curves].sum(axis=1) - price.sum(axis=1)
    total[(np.abs(bends) > outline._MOST_BEND).any(axis=1)] = -np.inf
    return curves[int(np.argmax(total))]


def test_the_curve_is_the_best_of_all_closed_ones() -> None:
    """In noise alone the path twice around may be another one, rarely; never where there is an edge."""
    same, with_edge = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        noise = (3 * random.normal(size=(8, 5))).astype(np.float32)
        same.append(np.array_equal(outline._best_curve(noise), brute_force(noise)))
        edge = noise.copy()
        edge[np.arange(8), np.clip(2 + np.rint(np.sin(np.arange(8) * np.pi / 4)).astype(int), 0, 4)] += 12
        with_edge.append(np.array_equal(outline._best_curve(edge), brute_force(edge)))
    assert np.mean(same) >= 0.8
    assert all(with_edge)


@settings(max_examples=25, deadline=None)
@given(
    a=st.floats(34, 60),
    share=st.floats(0.7, 1.0),
    turn=st.floats(0, np.pi),
    off=st.floats(0, 0.3),
    inner=st.floats(0.45, 0.7),
)
def test_cells_of_any_form_and_turn(a: float, share: float, turn: float, off: float, inner: float) -> None:
    side, b = 220, a * share
    cell = ellipse(side, 110, 110, a, b, turn)
    nucleus = ellipse(side, 110 + off * b, 110, inner * b, inner * b) & cell
    found = outline_around(painted((cell, CYTOPLASM), (nucleus, NUCLEUS)), nucleus, np.zeros_like(cell))
    assert dice(found, cell) > 0.95


@pytest.mark.parametrize("change", [np.rot90, np.fliplr, np.flipud, np.transpose])
def test_a_cell_that_is_turned_or_mirrored_has_the_same_outline(change: Callable[[np.ndarray], np.ndarray]) -> None:
    cell, nucleus = ellipse(201, 96, 104, 60, 48, 0.4), ellipse(201, 104, 100, 30, 26)
    rgb = painted((cell, CYTOPLASM), (nucleus, NUCLEUS))
    none = np.zeros_like(cell)
    turned = np.stack([change(rgb[..., channel]) for channel in range(3)], axis=2)
    again = outline_around(np.ascontiguousarray(turned), np.ascontiguousarray(change(nucleus)), none)
    assert dice(again, change(outline_around(rgb, nucleus, none))) > 0.99


def test_a_red_cell_that_touches_is_left_out_and_barred_parts_stay_out() -> None:
    cell, nucleus = ellipse(240, 120, 120, 52, 52), ellipse(240, 124, 116, 34, 34)
    touching = ellipse(240, 120, 206, 36, 36) & ~cell
    others = [ellipse(240, x, y, 36, 36) for x, y in ((30, 40), (210, 40), (20, 200), (220, 200))]
    red = np.logical_or.reduce([touching, *others])
    rgb = painted((red, RED_CELL), (cell, CYTOPLASM), (nucleus, NUCLEUS))
    found = outline_around(rgb, nucleus, red)
    assert dice(found, cell) > 0.95
    assert (found & touching).sum() < 0.1 * touching.sum()
    barred = np.zeros_like(cell)
    barred[:, :90] = True
    assert not (outline_around(rgb, nucleus, red, barred) & barred & ~nucleus)[:, :85].any()


def test_the_same_every_time_and_one_part_without_holes() -> None:
    cell, nucleus = ellipse(150, 74, 76, 40, 36), ellipse(150, 70, 76, 20, 24)
    rgb = painted((cell, CYTOPLASM), (nucleus, NUCLEUS))
    found = [outline_around(rgb, nucleus, np.zeros_like(cell)) for _ in range(2)]
    assert np.array_equal(found[0], found[1])
    assert cv2.connectedComponents(found[0].astype(np.uint8))[0] == 2
    assert solidity(found[0]) > 0.95
