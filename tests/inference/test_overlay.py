"""The overlay shows the map where it is, with the sign's colour, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.inference.overlay import BLAST_RGB, NORMAL_RGB, STRONGEST, overlay

GREY = np.full((90, 90, 3), 100, np.uint8)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 2), (2, 0), (2, 2), (0, 1), (1, 0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_hot_corner_stays_in_its_corner(row: int, column: int, sign: int) -> None:
    heatmap = np.zeros((3, 3), np.float32)
    heatmap[row, column] = sign * 2.0
    changed = np.abs(overlay(GREY, heatmap).astype(int) - 100).sum(axis=2)
    y, x = np.unravel_index(np.argmax(changed), changed.shape)
    assert (y // 30, x // 30) == (row, column)
    opposite = changed[30 * (2 - row) :, 30 * (2 - column) :][:15, :15] if row == column == 0 else None
    assert opposite is None or not opposite.any()


@pytest.mark.parametrize(("value", "colour"), [(3.0, BLAST_RGB), (-3.0, NORMAL_RGB)])
def test_colour_and_opacity_by_hand(value: float, colour: tuple[int, int, int]) -> None:
    full = overlay(GREY, np.full((2, 2), value, np.float32))
    half = overlay(GREY, np.full((2, 2), value, np.float32), scale=6.0)
    for picture, alpha in ((full, STRONGEST), (half, STRONGEST / 2)):
        expected = np.rint(100 + alpha * (np.array(colour) - 100.0))
        assert np.abs(picture.astype(int) - expected).max() <= 1


def test_a_map_of_zeros_or_of_no_numbers_changes_nothing() -> None:
    for heatmap in (np.zeros((3, 3), np.float32), np.full((3, 3), np.nan, np.float32)):
        np.testing.assert_array_equal(overlay(GREY, heatmap), GREY)


def test_beyond_the_scale_is_clipped() -> None:
    np.testing.assert_array_equal(
        overlay(GREY, np.full((2, 2), 9.0, np.float32), scale=1.0), overlay(GREY, np.full((2, 2), 1.0, np.float32))
    )


def test_the_legend_is_below_and_leaves_the_picture_as_it_is() -> None:
    heatmap = np.array([[1, -1], [0, 0]], np.float32)
    with_legend = overlay(GREY, heatmap, legend=True)
    assert with_legend.shape == (90 + 11, 90, 3)
    np.testing.assert_array_equal(with_legend[:90], overlay(GREY, heatmap))
    strip = with_legend[90:].astype(int)
    assert np.abs(strip[1, 0] - NORMAL_RGB).max() <= 2
    assert np.abs(strip[1, -1] - BLAST_RGB).max() <= 2


def test_the_two_hues_are_apart_for_dichromats() -> None:
    """Blue against yellow is what red-green blindness keeps: the two differ by over half the range."""
    opponent = [(r + g) / 2 - b for r, g, b in (BLAST_RGB, NORMAL_RGB)]
    assert opponent[0] - opponent[1] > 255 / 2
