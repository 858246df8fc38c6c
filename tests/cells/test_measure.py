"""The numbers of a cell: against values known by construction, and what must and must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.cells.cutout import cutout, cutout_of_frame, view
from leukoscope.cells.masks import eroded
from leukoscope.cells.measure import CUT_OFF, NO_CYTOPLASM, NO_SCALE, TOO_SMALL, UNITS, basophilia, measure
from leukoscope.cells.segment import RIM, Segmentation, divide, segment
from leukoscope.cells.texture import Texture, texture
from leukoscope.datasets.synthetic import render_cell

SIZE = 260


def round_at(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def parts(rgb: np.ndarray, cell: np.ndarray, nucleus: np.ndarray | None = None) -> Segmentation:
    """The parts as they are given, at full resolution."""
    seen = view(cutout(rgb, cell), 1)
    rows, columns = seen.cut.top, seen.cut.left
    window = np.s_[rows : rows + seen.outline.shape[0], columns : columns + seen.outline.shape[1]]
    kernel = seen.outline if nucleus is None else np.ascontiguousarray(nucleus[window])
    inside = eroded(kernel, RIM * seen.diameter)
    return Segmentation(seen, seen.outline, kernel, inside, nucleus is not None, 0.0)


def grain(rgb: np.ndarray, nucleus: np.ndarray, rim: float) -> Texture:
    found = texture(np.ascontiguousarray(rgb[..., 1]), nucleus, eroded(nucleus, rim), diameter=200)
    assert found is not None
    return found


def plain(mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask] = colour
    return picture


def test_a_disc_in_a_disc() -> None:
    cell, nucleus = round_at(130, 130, 100), round_at(120, 130, 60)
    rgb = plain(cell, (120, 100, 180))
    rgb[nucleus] = (90, 40, 120)
    found = measure(parts(rgb, cell, nucleus), um_per_px=0.1)
    values = found.values
    assert list(values) == list(UNITS)
    assert not found.reasons
    assert values["cell_area"] == cell.sum()
    assert values["cell_diameter"] == pytest.approx(200, rel=0.005)
    assert values["cell_diameter_um"] == pytest.approx(20, rel=0.005)
    assert values["cell_area_um2"] == pytest.approx(math.pi * 100, rel=0.01)
    assert values["nucleus_area"] == nucleus.sum()
    assert values["nucleus_share"] == pytest.approx(0.36, rel=0.01)
    assert values["nucleus_roundness"] == pytest.approx(1, abs=0.02)
    assert values["cytoplasm_basophilia"] == pytest.approx(math.log(181 / 121))
    assert values["chromatin_density"] == pytest.approx(math.log10(256 / 41))
    assert values["chromatin_entropy"] == 0
    assert values["chromatin_contrast"] == pytest.approx(0, abs=1e-3)
    assert values["nucleolus_candidates"] == 0
    assert values["tail_share"] == 0


def test_what_cannot_be_measured_is_none_with_its_reason() -> None:
    cell = round_at(130, 130, 100)
    found = measure(parts(plain(cell, (90, 40, 120)), cell))
    assert found.values["nucleus_share"] is None
    assert found.reasons["nucleus_share"] == found.reasons["cytoplasm_basophilia"] == NO_CYTOPLASM
    assert found.reasons["cell_area_um2"] == NO_SCALE
    assert found.values["chromatin_density"] is not None
    cut = cell.copy()
    cut[:90] = False
    found = measure(parts(plain(cut, (90, 40, 120)), cut), um_per_px=0.1)
    assert found.values["cell_area"] is None
    assert found.reasons["cell_area"] == found.reasons["cell_diameter_um"] == CUT_OFF
    assert found.values["chromatin_entropy"] is not None
    tiny = round_at(130, 130, 7)
    found = measure(parts(plain(tiny, (90, 40, 120)), tiny))
    assert found.reasons["chromatin_contrast"] == found.reasons["nucleolus_candidates"] == TOO_SMALL
    assert set(found.reasons) == {name for name, value in found.values.items() if value is None}
    assert found.to_json()["undefined"] == dict(found.reasons)


def test_a_cell_that_leaves_the_array_is_cut() -> None:
    cell = round_at(130, 130, 170)
    assert measure(parts(plain(cell, (90, 40, 120)), cell)).reasons["cell_area"] == CUT_OFF


def test_entropy_and_contrast_by_hand() -> None:
    nucleus = round_at(130, 130, 100)
    rgb = plain(nucleus, (90, 50, 120))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    rgb[nucleus & ((rows + columns) % 2 == 0), 1] = 100
    checked = grain(rgb, nucleus, 5)
    assert checked.entropy == pytest.approx(1, abs=0.001)  # two levels, half of the pixels each
    rgb[..., 1] = np.where(columns // 4 % 2 == 0, 50, 100)
    striped = grain(rgb, nucleus, 5)
    assert (
        striped.contrast > 10 > checked.contrast
    )  # stripes of 4 px lie in the band of the fine grain, single pixels not
    rgb[..., 1] = np.where(columns // 16 % 2 == 0, 50, 100)
    broad = grain(rgb, nucleus, 5)
    assert broad.clumping > striped.clumping
    assert broad.contrast < striped.contrast


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_pale_spots_are_counted(count: int) -> None:
    nucleus = round_at(130, 130, 100)
    rgb = plain(nucleus, (90, 60, 120))
    rgb[..., 1] += np.random.default_rng(1).integers(0, 3, (SIZE, SIZE), dtype=np.uint8)
    for x, y in [(90, 110), (160, 100), (130, 175)][:count]:
        rgb[round_at(x, y, 11), 1] = 85
    rgb[np.abs(np.arange(SIZE) - 60) < 2, 80:180, 1] = 90  # a pale streak is no spot
    found = grain(rgb, nucleus, 6)
    assert found.spots == count


def test_a_brighter_picture_has_the_same_texture_and_less_density() -> None:
    frame = render_cell(1, "blast")
    cut = cutout_of_frame(frame)
    light = measure(divide(view(cut))).values
    dark = measure(divide(view(cutout((frame * 0.5).astype(np.uint8), cut.in_picture(cut.mask))))).values
    assert light["chromatin_density"] == pytest.approx((dark["chromatin_density"] or 0) - math.log10(2), abs=0.03)
    # Halving costs a bit of the camera's levels, so the texture only stays to within their rounding.
    assert light["chromatin_clumping"] == pytest.approx(dark["chromatin_clumping"], rel=0.1)


@given(st.integers(0, 40), st.sampled_from(["blast", "normal"]))
@settings(max_examples=12)
def test_turning_and_mirroring_change_nothing(seed: int, kind: str) -> None:
    frame = render_cell(seed, kind, size=151)  # type: ignore[arg-type]
    values = measure(segment(frame)).values
    for change in (np.rot90, np.fliplr):
        again = measure(segment(np.ascontiguousarray(change(frame)))).values
        for name, value in values.items():
            assert again[name] == (None if value is None else pytest.approx(value, rel=2e-3, abs=2e-3)), name


def test_half_the_resolution_measures_nearly_the_same() -> None:
    cells = [cutout_of_frame(render_cell(seed, kind)) for seed in range(6) for kind in ("blast", "normal")]
    assert view(cells[0]).step == 2
    within = {
        "cell_area": 0.003, "cell_roundness": 0.03, "cell_elongation": 0.01, "cell_solidity": 0.01,
        "chromatin_density": 0.02, "chromatin_clumping": 0.15,
    }  # fmt: skip
    compared = 0
    for cell in cells:
        whole, half = (divide(view(cell, step)) for step in (1, 2))
        if whole.cytoplasm_visible or half.cytoplasm_visible:  # then the nucleus need not be the same
            continue
        compared += 1
        before, after = measure(whole).values, measure(half).values
        for name, tolerance in within.items():
            assert after[name] == pytest.approx(before[name], rel=tolerance), name
    assert compared >= 4


@pytest.mark.parametrize("times", [2, 3])
def test_areas_grow_with_the_square_of_the_scale(times: int) -> None:
    small, large = (render_cell(5, "blast", size=120 * k) for k in (1, times))
    before, after = (measure(segment(frame)).values for frame in (small, large))
    assert before["cell_area"]
    assert after["cell_area"] == pytest.approx(times**2 * before["cell_area"], rel=0.03)
    assert after["cell_roundness"] == pytest.approx(before["cell_roundness"], abs=0.03)
    assert after["cell_elongation"] == pytest.approx(before["cell_elongation"], rel=0.02)


def test_basophilia_needs_cytoplasm_away_from_the_rim() -> None:
    cell = round_at(130, 130, 100)
    assert basophilia(plain(cell, (1, 1, 1)), cell, round_at(130, 130, 97), rim=5) is None


def test_rendered_blasts_are_larger_than_rendered_lymphocytes() -> None:
    areas = {
        kind: np.median(
            [
                measure(divide(view(cutout_of_frame(f)))).values["cell_area"]
                for f in (render_cell(s, kind) for s in range(8))
            ]
        )
        for kind in ("blast", "normal")
    }
    assert areas["blast"] > areas["normal"]
