"""Size and form of discs, ellipses and rectangles whose numbers are known, and what must not change them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.cells.masks import closed, components, disc, eroded, filled, grown, opened
from leukoscope.cells.measure import is_cut, perimeter, shape, touches_edge
from leukoscope.cells.segment import segment


def ellipse(a: float, b: float, turn: float = 0.0, size: int = 400) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def ramanujan(a: float, b: float) -> float:
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


@pytest.mark.parametrize("radius", [12, 30, 80, 150])
def test_a_disc_is_round(radius: int) -> None:
    found = shape(ellipse(radius, radius))
    assert found.area == pytest.approx(math.pi * radius**2, rel=0.02)
    assert found.diameter == pytest.approx(2 * radius, rel=0.01)
    assert found.perimeter == pytest.approx(2 * math.pi * radius, rel=0.015)
    assert found.roundness == pytest.approx(1, abs=0.02)
    assert found.elongation == pytest.approx(1, abs=0.01)
    assert found.solidity > 0.975
    assert found.irregularity < 0.02 if radius >= 30 else found.irregularity < 0.05
    assert not is_cut(found)


@pytest.mark.parametrize("turn", [0, 0.3, math.pi / 4, 1.1])
@pytest.mark.parametrize(("a", "b"), [(90, 60), (120, 60), (100, 40)])
def test_an_ellipse_has_its_perimeter_axes_and_no_irregularity(a: float, b: float, turn: float) -> None:
    found = shape(ellipse(a, b, turn))
    true = 4 * math.pi * (math.pi * a * b) / ramanujan(a, b) ** 2
    assert found.area == pytest.approx(math.pi * a * b, rel=0.01)
    assert found.perimeter == pytest.approx(ramanujan(a, b), rel=0.04)  # four directions only
    assert found.roundness == pytest.approx(true, rel=0.08)
    assert found.elongation == pytest.approx(a / b, rel=0.01)
    assert found.irregularity < 0.02
    assert not is_cut(found)


def test_a_square_by_hand() -> None:
    square = np.zeros((60, 60), bool)
    square[10:50, 10:50] = True
    found = shape(square)
    assert found.area == 1600
    # Each axis: 40 lines of 2 crossings; each diagonal: 79 lines of 2 crossings at 1 / sqrt 2.
    assert found.perimeter == pytest.approx(math.pi / 8 * (160 + 316 / math.sqrt(2)))
    assert found.solidity == 1
    assert found.straight_edge == pytest.approx(40 / math.sqrt(4 * 1600 / math.pi))
    assert is_cut(found)


def test_a_dent_costs_solidity_and_roundness_and_a_cut_disc_is_seen() -> None:
    whole = ellipse(80, 80)
    dented = whole & ~np.roll(ellipse(40, 40), 80, axis=1)
    assert shape(dented).solidity < shape(whole).solidity - 0.08
    assert shape(dented).roundness < shape(whole).roundness - 0.15
    assert shape(dented).irregularity > shape(whole).irregularity + 0.05
    cut = whole.copy()
    cut[:160] = False
    assert is_cut(shape(cut))


def test_touching_the_edge_of_the_array() -> None:
    for radius, cut in ((80, False), (220, True)):
        mask = ellipse(radius, radius)
        rgb = np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2)
        assert touches_edge(segment(rgb, mask)) == cut


def test_an_empty_mask_has_no_shape() -> None:
    with pytest.raises(ValueError, match="empty"):
        shape(np.zeros((5, 5), bool))


def blob(seed: int, size: int = 90) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    field = cv2.GaussianBlur(noise, (0, 0), 5) * 12 - np.hypot(x, y) / 12 + 2.2
    labels, areas = components(field > 0)
    return labels == int(np.argmax(areas)) if areas.any() else ellipse(9, 9, size=size)


@given(st.integers(0, 500))
@settings(max_examples=40)
def test_turning_and_mirroring_change_nothing(seed: int) -> None:
    mask = blob(seed)
    found = shape(mask)
    for other in (np.rot90(mask), np.rot90(mask, 2), mask[:, ::-1], mask.T):
        again = shape(np.ascontiguousarray(other))
        for name in found.__slots__:
            assert getattr(again, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-9), name


@given(st.integers(0, 500), st.integers(2, 3))
@settings(max_examples=20)
def test_areas_grow_with_the_square_of_the_scale_and_forms_stay(seed: int, times: int) -> None:
    mask = blob(seed)
    large = np.kron(mask, np.ones((times, times), bool))
    small_shape, large_shape = shape(mask), shape(large)
    assert large_shape.area == times**2 * small_shape.area
    assert large_shape.diameter == pytest.approx(times * small_shape.diameter)
    assert large_shape.elongation == pytest.approx(small_shape.elongation, rel=0.02)


@given(st.integers(0, 500), st.floats(0.4, 9))
@settings(max_examples=40)
def test_morphology_by_distances_is_that_by_discs(seed: int, radius: float) -> None:
    mask, element = blob(seed, 60), disc(radius)
    pad = 2 * len(element)

    def reference(operation: int) -> np.ndarray:
        wide = np.pad(mask.astype(np.uint8), pad)
        done = cv2.morphologyEx(wide, operation, element, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        return done[pad:-pad, pad:-pad] > 0

    assert np.array_equal(eroded(mask, radius), reference(cv2.MORPH_ERODE))
    assert np.array_equal(grown(mask, radius), reference(cv2.MORPH_DILATE))
    assert np.array_equal(opened(mask, radius), reference(cv2.MORPH_OPEN))
    assert np.array_equal(closed(mask, radius), reference(cv2.MORPH_CLOSE))


def test_holes_are_filled_up_to_their_size_and_bays_are_not() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:11, 1:11] = True
    mask[3, 3] = mask[6:9, 6:9] = mask[0:3, 8] = False
    assert filled(mask, 1)[3, 3]
    assert not filled(mask, 1)[7, 7]
    assert filled(mask)[7, 7]
    assert not filled(mask)[1, 8]
    assert not grown(np.zeros((4, 4), bool), 3).any()
    assert perimeter(np.zeros((4, 4), bool)) == 0
