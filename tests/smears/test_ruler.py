import numpy as np
import pytest

from leukoscope.smears.redcells import RedCell
from leukoscope.smears.ruler import find_red_cells, read_ruler, ruler_of, weighted_median

from .smear import Smear, with_red_cells


@pytest.mark.parametrize("diameter", [24, 60, 100])
def test_painted_red_cells_give_their_diameter(diameter):
    ruler, cells = read_ruler(with_red_cells(diameter).picture())
    assert ruler.source == "red cells"
    assert ruler.red_cell_px == pytest.approx(diameter, rel=0.03)
    assert ruler.um_per_px == pytest.approx(7.5 / diameter, rel=0.03)
    assert ruler.low < 7.5 / diameter < ruler.high
    assert len(cells) >= 6


def test_a_field_of_seventeen_million_pixels_has_the_scale_of_its_parts():
    part = with_red_cells(60).picture()
    assert read_ruler(np.tile(part, (8, 7, 1)))[0].red_cell_px == pytest.approx(60, rel=0.03)


def test_the_scale_follows_the_stated_diameter():
    picture = with_red_cells(60).picture()
    assert read_ruler(picture, red_cell_um=15)[0].um_per_px == pytest.approx(
        2 * read_ruler(picture)[0].um_per_px, rel=1e-9
    )


def test_overlapping_and_touching_cells_are_measured_singly():
    smear = Smear()
    for x, y in (
        (90, 100),
        (150, 120),
        (200, 90),
        (400, 200),
        (455, 240),
        (420, 300),
        (150, 350),
        (215, 350),
        (280, 350),
    ):
        smear.red(x, y, 70)
    cells = find_red_cells(smear.picture())
    assert np.median([cell.diameter for cell in cells]) == pytest.approx(70, rel=0.05)
    assert sum(np.hypot(cell.x - 420, cell.y - 300) < 10 for cell in cells) == 1


def test_white_cells_are_no_red_cells():
    smear = Smear()
    for x, y in ((100, 100), (300, 120), (500, 300), (200, 350)):
        smear.white(x, y, 100, 70)
    ruler, _ = read_ruler(smear.picture())
    assert ruler.source == "unknown"
    assert ruler.um_per_px is None
    assert "scale unknown" in ruler.warnings[0]


def test_a_given_scale_holds_and_is_checked():
    picture = with_red_cells(60).picture()
    right, _ = read_ruler(picture, um_per_px=0.125)
    wrong, _ = read_ruler(picture, um_per_px=0.5)
    assert (right.um_per_px, right.source, right.warnings) == (0.125, "given", ())
    assert wrong.um_per_px == 0.5
    assert "30" in wrong.warnings[0] or "29" in wrong.warnings[0]  # 60 px * 0.5 um
    assert "not plausible" in read_ruler(picture, um_per_px=3.0)[0].warnings[0]


@pytest.mark.parametrize("wrong", [{"um_per_px": 0}, {"um_per_px": -1}, {"red_cell_um": 0}])
def test_lengths_must_be_positive(wrong):
    with pytest.raises(ValueError, match="positive"):
        read_ruler(np.zeros((200, 200, 3), np.uint8), **wrong)


def test_two_red_cells_are_too_few():
    ruler = ruler_of([RedCell(1, 1, 50, 0.9), RedCell(99, 1, 52, 0.9)])
    assert ruler.um_per_px is None
    assert "only 2 red cells" in ruler.warnings[0]


def test_the_interval_narrows_with_cells_but_not_below_the_spread_between_people():
    random = np.random.default_rng(0)
    few, many = (ruler_of([RedCell(0, 0, d, 0.8) for d in random.normal(60, 9, n)]) for n in (5, 500))
    assert few.high - few.low > many.high - many.low > 4 * 0.05 * many.um_per_px * 0.9


def test_weighted_median_with_equal_weights_is_the_median():
    values = np.random.default_rng(0).normal(size=101)
    assert weighted_median(values, np.ones(101)) == pytest.approx(np.median(values))
