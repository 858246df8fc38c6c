"""Rendered fields: always the same, with white cells that are found where they were put, at the known scale."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.datasets.rendered_field import RED_CELL, render_field
from leukoscope.errors import DataError
from leukoscope.smears import RED_CELL_UM, STANDARD_UM_PER_PX, find_cells


@pytest.mark.parametrize("seed", [0, 1])
def test_every_white_cell_is_found_where_it_was_drawn(seed: int) -> None:
    picture, places = render_field(seed, ("blast", "normal", "normal"))
    assert np.array_equal(picture, render_field(seed, ("blast", "normal", "normal"))[0])
    found = find_cells(picture)
    boxes = np.array([cell.box for cell in found.cells], float)
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    assert len(middles) == len(places) == 3
    for place in places:
        assert np.hypot(*(middles - place).T).min() < 12  # pixels; a cell is 80 to 130 across
    assert found.ruler.source == "red cells"
    assert found.ruler.um_per_px == pytest.approx(2 * STANDARD_UM_PER_PX, rel=0.08)


def test_red_cells_have_the_size_of_the_white_cells_scale() -> None:
    assert RED_CELL[0] * STANDARD_UM_PER_PX == pytest.approx(RED_CELL_UM, rel=0.01)


def test_too_many_white_cells_are_refused() -> None:
    with pytest.raises(DataError, match="31 white cells do not fit"):
        render_field(0, ("blast",) * 31)
