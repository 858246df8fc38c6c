"""Light and stain of fields brought to the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leukoscope.smears import WhiteCell, find_cells
from leukoscope.smears.normalise import NORMALISATIONS, StainReference, normaliser, read_reference, stain_statistics

from .smear import with_red_cells

DYES = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
DYES /= np.linalg.norm(DYES, axis=1, keepdims=True)


def stained(dyes: np.ndarray, light: float = 255, seed: int = 0, strength: float = 1.0) -> np.ndarray:
    """Pixels of two dyes in random amounts, some of one alone; uint8 [N, 3]."""
    rng = np.random.default_rng(seed)
    amounts = strength * rng.uniform(0.1, 1, (6000, 2)) * rng.choice([[1, 1], [1, 0], [0, 1]], 6000)
    amounts += 0.2 * (amounts.sum(1, keepdims=True) == 0)
    return np.clip(np.rint((light + 1) * 10 ** -(amounts @ dyes) - 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    smear = with_red_cells(60, leave=(320, 240, 110)).white(250, 240, 100, 70).white(400, 240, 100, 70)
    return smear.picture()


def test_the_same_cell_under_other_dyes_comes_nearer():
    other = np.array([[0.55, 0.75, 0.36], [0.25, 0.92, 0.30]])
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    outline = np.array([[100, 100], [180, 100], [180, 175], [100, 175.0]])
    cell = WhiteCell(outline, (outline,), (100, 100, 80, 75), 6000.0, 3000.0, "whole")
    before, after = [], []
    for dyes in (DYES, other):
        field = np.full((300, 300, 3), 200, np.uint8)
        field[100:175, 100:180] = stained(dyes, light=200, strength=0.6).reshape(75, 80, 3)
        change = normaliser(field, (cell,) * 100, "reinhard", read_reference())
        before.append(np.log10(field[100:175, 100:180] + 1.0))
        after.append(np.log10(change(field[100:175, 100:180]) + 1.0))
    assert np.abs(after[0] - after[1]).mean() < 0.7 * np.abs(before[0] - before[1]).mean()
    assert after[0].std() > 0.1


def test_reinhard_with_many_cells_reaches_the_reference(field):
    reference = read_reference()
    cells = find_cells(field).cells
    many = cells * 100  # as if they were two hundred: the prior has hardly any weight
    out = normaliser(field, many, "reinhard", reference)(field)
    pixels = np.concatenate(
        [out[b[1] : b[1] + b[3], b[0] : b[0] + b[2]][cell.mask()] for cell in cells for b in (cell.box,)]
    )
    found = stain_statistics(pixels, ground=np.full(3, 255.0))
    assert found.mean == pytest.approx(reference.statistics.mean, abs=0.03)
    assert found.spread == pytest.approx(reference.statistics.spread, abs=0.03)


def test_two_cells_change_less_than_many(field):
    reference, cells = read_reference(), find_cells(field).cells
    few, many = (normaliser(field, c, "reinhard", reference)(field) for c in (cells, cells * 100))
    none = normaliser(field, (), "none", reference)(field)
    assert np.array_equal(none, field)
    light = 200 / 256

    def moved(rgb: np.ndarray) -> float:
        mask = cells[0].mask()
        x, y, width, height = cells[0].box
        window = np.s_[y : y + height, x : x + width]
        return float(np.abs(rgb[window][mask] - field[window][mask] / light).mean())

    assert moved(few) < moved(many)


def test_a_field_without_cells_is_left_alone_and_nonsense_refused(field):
    for method in NORMALISATIONS:
        assert normaliser(field, (), method, read_reference())(field) is field
    with pytest.raises(ValueError, match="no normalisation"):
        normaliser(field, (), "vahadane", read_reference())  # type: ignore[arg-type]


def test_the_reference_goes_to_json_and_back():
    reference = read_reference()
    assert reference.cells >= 100
    assert "cnmc2019" in reference.data
    assert replace(StainReference(**reference.to_json()), statistics=reference.statistics) == reference


def test_the_light_of_the_ground_does_not_matter(field):
    cells, reference = find_cells(field).cells * 100, read_reference()
    gain = np.array([0.8, 0.7, 0.9])
    dimmed = np.clip((field + 1.0) * gain - 1, 0, 255).astype(np.uint8)
    there, here = (normaliser(rgb, cells, "reinhard", reference)(rgb) for rgb in (field, dimmed))
    assert np.abs(there.astype(int) - here).mean() < 3
