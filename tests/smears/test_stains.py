"""White cells under stains whose red cells are purple themselves, and what no white cell is as large as."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leukoscope.smears import find_cells
from leukoscope.smears.axis import UNUSUAL, stain_axis
from leukoscope.smears.faults import REFUSED
from leukoscope.smears.find import find_in_windows
from leukoscope.smears.nuclei import find_nuclei
from leukoscope.smears.ruler import find_red_cells

from .smear import ORDINARY, Smear, Stain, with_red_cells

STAINS = {
    # Densities of R, G and B: of red cells, nuclei, cytoplasm.
    "phone, magenta nuclei": Stain.of((215, 182, 170), (0.17, 0.24, 0.12), (0.35, 1.00, 0.20), (0.08, 0.15, 0.07)),
    "pale nuclei": Stain.of((214, 169, 152), (0.14, 0.21, 0.10), (0.17, 0.52, 0.10), (0.06, 0.13, 0.05)),
    "yellow ground": Stain.of((186, 179, 137), (0.17, 0.18, 0.06), (0.29, 0.81, 0.08), (0.12, 0.26, 0.04)),
    "strongly purple red cells": Stain.of((205, 185, 170), (0.24, 0.30, 0.13), (0.45, 1.05, 0.22), (0.10, 0.20, 0.07)),
    "blue": Stain.of((190, 200, 205), (0.22, 0.20, 0.10), (0.45, 0.70, 0.12), (0.14, 0.18, 0.06)),
}


def field(stain: Stain) -> np.ndarray:
    smear = with_red_cells(60, leave=(320, 240, 85), stain=stain).white(320, 240, 140, 80)
    return smear.picture()


@pytest.mark.parametrize("name", STAINS)
def test_the_white_cell_is_found_whole_and_no_red_cell_is_one(name: str) -> None:
    found = find_cells(field(STAINS[name]))
    (cell,) = found.cells
    assert cell.centre == pytest.approx((320, 240), abs=6)
    assert cell.diameter == pytest.approx(140, rel=0.1)
    assert np.sqrt(4 * cell.nucleus_area / np.pi) == pytest.approx(80, rel=0.12)
    assert cell.state == "whole"
    assert found.ruler.red_cell_px == pytest.approx(60, rel=0.05)
    assert UNUSUAL not in found.warnings


@pytest.mark.parametrize("name", STAINS)
def test_where_there_is_no_white_cell_none_is_found(name: str) -> None:
    """Red cells that lie on one another are darker than single ones, in the same colour."""
    smear = with_red_cells(60, leave=(320, 240, 60), stain=STAINS[name])
    picture = smear.picture().astype(np.float64)
    twice = np.zeros((480, 640), np.uint8)
    cv2.circle(twice, (320, 240), 30, 1, -1)
    both = np.array(STAINS[name].red) ** 2 / np.array(STAINS[name].ground)
    picture[cv2.GaussianBlur(twice.astype(np.float32), (0, 0), 1) > 0.5] = both
    found = find_cells(np.clip(picture, 0, 255).astype(np.uint8))
    assert not found.cells
    assert any("no white cell" in text for text in found.warnings)


def test_a_cell_cut_by_the_edge_is_named_so_under_any_stain() -> None:
    smear = with_red_cells(60, leave=(20, 240, 90), stain=STAINS["phone, magenta nuclei"]).white(20, 240, 140, 80)
    (cell,) = find_cells(smear.picture()).cells
    assert cell.state == "cut"
    assert cell.box[0] == 0


def test_the_usual_axis_stays_where_red_cells_are_red() -> None:
    rgb = field(ORDINARY)
    axis = stain_axis(rgb, find_red_cells(rgb), sigma=1.0)
    assert axis.ordinary
    assert axis.weights.tolist() == [1, 1, -2]
    own = stain_axis(field(STAINS["blue"]), find_red_cells(field(STAINS["blue"])), sigma=1.0)
    assert not own.ordinary
    assert np.linalg.norm(own.weights) == pytest.approx(np.sqrt(6))


def test_nuclei_that_hardly_stand_out_are_doubted_on_the_field_and_in_windows() -> None:
    weak = Stain.of((205, 185, 170), (0.20, 0.26, 0.12), (0.20, 0.34, 0.12), (0.19, 0.27, 0.12))
    rgb = field(weak)
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 12, rgb.shape), 0, 255).astype(np.uint8)
    assert UNUSUAL in find_cells(noisy).warnings
    assert any(text.startswith(UNUSUAL) for text in find_in_windows(np.hstack([noisy, noisy]), window=640).warnings)


def test_within_what_is_larger_than_any_nucleus_the_level_is_sought_again() -> None:
    """A wash of stain over a third of the field hides two nuclei from one level."""
    height = np.zeros((400, 600), np.float32)
    height[50:350, 50:400] = 0.5
    for x in (130, 300):
        cv2.circle(height, (x, 200), 30, (1.0,), -1)
    noise = np.random.default_rng(0).normal(0, 0.01, height.shape)
    height = np.asarray(cv2.GaussianBlur(height, (0, 0), 1.5) + noise, np.float32)
    found = find_nuclei(height, 0.0, 0.02, 48.0)
    assert (found.count, found.refused) == (2, 0)


def test_an_outline_over_half_of_the_field_is_no_cell() -> None:
    """One wash of the nucleus' own colour: nothing in it can be told, so it is refused and said."""
    smear = with_red_cells(40, height=600, width=800, leave=(250, 300, 260))
    found = find_cells(smear.disc(250, 300, 470, ORDINARY.nucleus).picture())
    assert found.ruler.red_cell_px == pytest.approx(40, rel=0.06)
    assert not [cell for cell in found.cells if cell.diameter > 26 / 7.5 * 40]
    assert any(REFUSED in text for text in found.warnings)
    unknown = find_cells(Smear().disc(320, 240, 620, ORDINARY.nucleus).picture())
    assert not [cell for cell in unknown.cells if cell.area > 0.5 * 640 * 480]
