"""Nucleus and cytoplasm: of cells made by hand, of rendered ones, and of real ones with hand-drawn masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leukoscope.cells import cell_mask
from leukoscope.cells.crop import segment_crop
from leukoscope.cells.cutout import cutout, view
from leukoscope.cells.masks import components, enclosed, filled, inked, outlines
from leukoscope.cells.segment import divide, segment
from leukoscope.cells.stain import median_stain, nuclear_stain, otsu_level, otsu_levels, smooth
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import PictureError

NUCLEUS, CYTOPLASM, GROUND, RED_CELL = (90, 40, 120), (150, 140, 190), (250, 235, 220), (205, 140, 140)


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def round_at(size: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def paint(*layers: tuple[np.ndarray, tuple[int, int, int]], ground: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """Layers of colour over a ground, blurred a little, with camera noise, exactly black outside on black."""
    size = layers[0][0].shape[0]
    picture = np.full((size, size, 3), ground, np.float32)
    for mask, colour in layers:
        picture[mask] = colour
    soft = cv2.GaussianBlur(picture, (0, 0), 1) + np.random.default_rng(0).normal(0, 2, picture.shape)
    if ground == (0, 0, 0):
        soft[~layers[0][0]] = 0
        soft[layers[0][0]] = np.maximum(soft[layers[0][0]], 20)
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def test_a_nucleus_in_its_cytoplasm() -> None:
    cell, nucleus = round_at(220, 110, 110, 80), round_at(220, 120, 105, 50)
    found = segment(paint((cell, CYTOPLASM), (nucleus, NUCLEUS)))
    assert found.cytoplasm_visible
    assert dice(found.cell, cell) > 0.99
    assert dice(found.nucleus, nucleus) > 0.98
    assert np.array_equal(found.cytoplasm, found.cell & ~found.nucleus)
    assert found.diameter == pytest.approx(160, rel=0.01)


def test_lobes_are_kept_nucleoli_closed_and_granules_left_out() -> None:
    cell = round_at(260, 130, 130, 100)
    lobes = round_at(260, 95, 120, 32) | round_at(260, 165, 150, 32)
    nucleolus, granule = round_at(260, 95, 120, 5), round_at(260, 140, 70, 6)
    rgb = paint((cell, CYTOPLASM), (lobes, NUCLEUS), (nucleolus, CYTOPLASM), (granule, NUCLEUS))
    found = segment(rgb)
    assert dice(found.nucleus, lobes) > 0.97
    assert found.nucleus[120, 95]
    assert not found.nucleus[70, 140]


def test_where_no_cytoplasm_shows_none_is_invented() -> None:
    for frame in (paint((round_at(220, 110, 110, 80), NUCLEUS)), render_cell(3, "normal")):
        found = segment(frame)
        if not found.cytoplasm_visible:
            assert np.array_equal(found.nucleus, found.cell)
            assert not found.cytoplasm.any()
    assert not segment(paint((round_at(220, 110, 110, 80), NUCLEUS))).cytoplasm_visible


def test_a_pale_spot_inside_is_no_cytoplasm() -> None:
    cell, spot = round_at(220, 110, 110, 80), round_at(220, 110, 110, 25)
    assert not segment(paint((cell, NUCLEUS), (spot, CYTOPLASM))).cytoplasm_visible


def test_tails_are_left_out_of_the_cell_and_kept_in_the_outline() -> None:
    cell = round_at(260, 120, 130, 80)
    tail = np.zeros_like(cell)
    tail[126:134, 195:240] = True
    found = segment(paint((cell | tail, NUCLEUS)))
    assert dice(found.outline, cell | tail) > 0.99
    assert dice(found.cell, cell) > 0.99
    assert not found.cell[130, 225]


def test_rendered_cells_are_all_of_their_mask() -> None:
    for seed in range(4):
        frame = render_cell(seed, "blast")
        found = segment(frame)
        assert np.array_equal(found.outline, cell_mask(frame))
        assert dice(found.cell, found.outline) > 0.98
        assert not (found.nucleus & ~found.cell).any()
        assert found.nucleus.sum() > 0.5 * found.cell.sum()  # `rendering` leaves a crescent of cytoplasm at most


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_brightness_and_the_stain_are_the_cell_s_own(times: int) -> None:
    cell, nucleus = round_at(220, 110, 110, 80), round_at(220, 120, 105, 50)
    rgb = paint((cell, CYTOPLASM), (nucleus, NUCLEUS)) // times
    assert dice(segment(rgb, cell).nucleus, nucleus) > 0.97


def test_turning_and_mirroring_turn_and_mirror_the_parts() -> None:
    frame = paint((round_at(221, 110, 110, 80), CYTOPLASM), (round_at(221, 130, 100, 45), NUCLEUS))
    found = segment(frame)
    for change in (np.rot90, np.fliplr, np.flipud):
        again = segment(np.ascontiguousarray(change(frame)))
        for name in ("outline", "cell", "nucleus"):
            assert (getattr(again, name) != change(getattr(found, name))).mean() < 1e-4, name


def test_a_cell_among_red_cells_and_a_crop_without_any() -> None:
    cell, nucleus = round_at(150, 76, 74, 38), round_at(150, 80, 70, 22)
    red = round_at(150, 20, 25, 20) | round_at(150, 130, 125, 20)
    found = segment_crop(paint((red, RED_CELL), (cell, CYTOPLASM), (nucleus, NUCLEUS), ground=GROUND))
    assert dice(found.outline, cell) > 0.95
    assert dice(found.nucleus, nucleus) > 0.95
    with pytest.raises(PictureError, match="nothing in the crop stains"):
        segment_crop(np.full((100, 100, 3), 200, np.uint8))
    with pytest.raises(PictureError, match="too small"):
        segment_crop(np.zeros((20, 100, 3), np.uint8))


@pytest.mark.parametrize("size", [220, 221])
def test_a_view_of_half_the_resolution_finds_the_same_parts(size: int) -> None:
    cell, nucleus = round_at(size, 110, 110, 80), round_at(size, 120, 105, 50)
    tail = np.zeros_like(cell)
    tail[106:112, 185:215] = True
    frame = paint((cell | tail, CYTOPLASM), (nucleus, NUCLEUS))
    seen = view(cutout(frame, cell_mask(frame)))
    assert seen.step == 2
    found = divide(seen)
    assert found.cytoplasm_visible
    assert np.array_equal(found.outline, cell_mask(frame))
    assert dice(found.cell, cell) > 0.99
    assert dice(found.nucleus, nucleus) > 0.97
    assert found.diameter == pytest.approx(160, rel=0.01)


def test_boundaries_enclose_what_labels_count() -> None:
    mask = np.random.default_rng(3).random((40, 50)) > 0.6
    mask[:, 20] = False
    found = outlines(mask)
    areas = components(filled(mask))[1][1:]
    assert sorted(
        enclosed(line) for line in found.parts if not inked([line], mask.shape)[~filled(mask)].any()
    ) == sorted(int(area) for area in areas)
    assert sum(enclosed(line, hole=True) for line in found.holes) == np.count_nonzero(filled(mask) & ~mask)


def test_bad_outlines_and_frames_without_a_cell() -> None:
    frame = render_cell(0, "blast", size=120)
    with pytest.raises(ValueError, match="outline"):
        segment(frame, np.zeros((120, 120), bool))
    with pytest.raises(ValueError, match="outline"):
        segment(frame, np.ones((60, 60), bool))
    with pytest.raises(PictureError, match="all black"):
        segment(np.zeros((120, 120, 3), np.uint8))


def test_otsu_against_opencv_and_by_brute_force() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(40, 6, 700), rng.normal(120, 10, 500), rng.normal(200, 8, 300)])
    bytes_ = np.clip(values[:1200], 0, 255).astype(np.uint8)
    theirs, _ = cv2.threshold(bytes_.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    (ours,) = otsu_levels(bytes_.astype(np.float32))
    assert ours == pytest.approx(theirs, abs=2)
    first, second = otsu_levels(values.astype(np.float32), 3)

    def within(cuts: tuple[float, float]) -> float:
        parts = np.split(np.sort(values), np.searchsorted(np.sort(values), cuts))
        return sum(float(part.var() * len(part)) for part in parts if len(part))

    grid = np.linspace(values.min(), values.max(), 60)
    best = min(within((a, b)) for a in grid for b in grid if a < b)
    assert within((first, second)) <= best * 1.02
    assert otsu_levels(np.full(50, 3.0, np.float32)) == (3.0,)
    whole = np.ones((1, len(values)), bool)
    stain = (values.astype(np.float32) - 250)[None]
    assert otsu_level(stain, whole) == pytest.approx(otsu_levels(stain[0])[0], abs=1)
    assert median_stain(stain, whole) == pytest.approx(np.median(stain), abs=0.5)
    assert otsu_level(np.full((5, 5), -7, np.float32), np.ones((5, 5), bool)) == pytest.approx(-7, abs=0.5)


def test_smoothing_does_not_look_beyond_the_mask() -> None:
    mask = round_at(60, 30, 30, 20)
    rgb = np.zeros((60, 60, 3), np.uint8)
    rgb[mask] = (10, 20, 100)
    rgb[~mask] = (255, 0, 255)
    assert np.allclose(smooth(nuclear_stain(rgb), mask, 3)[mask], 60, atol=1e-3)
    assert np.allclose(smooth(np.full((60, 60), 7, np.float32), None, 4), 7, atol=1e-4)


@pytest.mark.data
def test_dice_on_real_cells(real_data: Path) -> None:
    """Some of the odd pictures, which nothing was tuned on: bounds well below what docs/morphology.md says."""
    for folder, numbers in (("dataset1", range(11, 301, 20)), ("dataset2", range(3, 101, 14))):
        nuclei, cells = [], []
        for number in numbers:
            stem = real_data / "wbc-seg" / folder / f"{number:03d}"
            if not stem.with_suffix(".png").exists():
                pytest.skip(f"{stem}.png is not there")
            rgb = np.array(Image.open(stem.with_suffix(".png")).convert("RGB"))
            mask = np.array(Image.open(stem.with_suffix(".mask.png")).convert("L"))
            framed = rgb * (mask >= 100)[..., None].astype(np.uint8)
            nuclei.append(dice(segment(framed, mask >= 100).nucleus, mask >= 200))
            cells.append(dice(segment_crop(rgb).outline, mask >= 100))
        assert np.mean(nuclei) > 0.92
        assert np.mean(cells) > 0.85
