"""Measurements of a picture's quality against references made another way."""

from __future__ import annotations

import math
from itertools import groupby, pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial import ConvexHull

from leukoscope.cells.frame import frame_cell
from leukoscope.cells.masks import longest_run
from leukoscope.cells.quality import (
    FINE,
    MEASURES,
    ROUNDING,
    Quality,
    hull_area,
    measure_quality,
    second_body,
    sharpness,
    surroundings,
)
from leukoscope.cells.stain import stain_statistics
from leukoscope.datasets.synthetic import render_cell


def of(rgb: np.ndarray, size: int = 450) -> Quality:
    return measure_quality(rgb, frame_cell(rgb, size))


def disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2)


def depth_of(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1], np.float32)


def test_sharpness_is_that_of_gaussians_by_scipy() -> None:
    rng = np.random.default_rng(0)
    grey = np.rint(ndimage.gaussian_filter(rng.normal(100, 60, (120, 160)), 1.2)).astype(np.float32)
    inside = disc(160, (80, 60), 40)[:120]
    fine = grey - ndimage.gaussian_filter(grey.astype(np.float64), FINE * 200, mode="nearest", truncate=5)
    expected = math.log2(math.sqrt(fine[inside].var() - ROUNDING) / grey[inside].std())
    assert sharpness(grey, inside, 200) == pytest.approx(expected, abs=0.01)


def test_rounding_alone_is_no_detail() -> None:
    """What three channels and the grey level lose by rounding is taken off: a smooth cell has next to none."""
    y, x = np.mgrid[:200, :200]
    smooth = np.stack([90 + 40 * np.sin(x / 60) * np.cos(y / 50) + shift for shift in (0.3, 7.7, 20.2)], axis=-1)
    grey = cv2.cvtColor(np.rint(smooth).astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = disc(200, (100, 100), 80)
    raw = grey - ndimage.gaussian_filter(grey.astype(np.float64), FINE * 200)
    assert raw[inside].var() == pytest.approx(ROUNDING, rel=0.35)
    assert sharpness(grey, inside, 200) < -5


def test_sharpness_falls_with_blur_as_the_variance_of_the_laplacian_does() -> None:
    cell = render_cell(3, "blast")
    mask = cell.any(axis=2)
    ours, laplacian = [], []
    for sigma in (0, 1, 1.5, 2, 5, 8):
        blurred = cell if sigma == 0 else cv2.GaussianBlur(cell, (0, 0), sigma)
        blurred = np.where(mask[..., None], np.maximum(blurred, 12), 0).astype(np.uint8)
        ours.append(of(blurred).values["sharpness"])
        inner = ndimage.binary_erosion(mask, iterations=15)
        laplacian.append(cv2.Laplacian(cv2.cvtColor(blurred, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[inner].var())
    assert all(a > b for a, b in pairwise(ours[:4]))
    assert max(ours[3:]) < ours[2]  # beyond, nothing but rounding is left
    assert all(a > b for a, b in pairwise(laplacian[:4]))


def test_sharpness_does_not_hang_on_contrast_but_on_noise() -> None:
    rng = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(rng.normal(0, 60, (300, 300)), 1.5)[..., None] * np.ones(3)
    mask = disc(300, (150, 150), 90)

    def cell(contrast: float, brightness: float, noise: float) -> np.ndarray:
        levels = brightness + contrast * texture + rng.normal(0, 1, texture.shape) * noise
        return np.where(mask[..., None], np.clip(np.rint(levels), 12, 255), 0).astype(np.uint8)

    plain = of(cell(1, 120, 0)).values["sharpness"]
    assert of(cell(0.5, 180, 0)).values["sharpness"] == pytest.approx(plain, abs=0.05)
    assert of(cell(1, 120, 12)).values["sharpness"] > plain + 0.5


def test_stain_is_that_of_numpy() -> None:
    pixels = np.random.default_rng(2).integers(20, 240, (3000, 3)).astype(np.uint8)
    pixels[:, 2] = pixels[:, 1] // 2 + pixels[:, 2] // 3
    numbers, nuclear = stain_statistics(pixels)
    density = -np.log10((pixels.astype(float) + 1) / 256)
    correlation = np.corrcoef(density.T)
    assert numbers[:3] == pytest.approx(density.mean(axis=0))
    assert numbers[3:6] == pytest.approx(np.log(density.std(axis=0)))
    assert np.tanh(numbers[6:]) == pytest.approx([correlation[0, 1], correlation[0, 2], correlation[1, 2]])
    assert nuclear == pytest.approx(np.quantile(density[:, 1], 0.9, method="lower"))


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any))
def test_hull_is_that_of_the_pixels_squares(mask: np.ndarray) -> None:
    y, x = np.nonzero(mask)
    corners = np.concatenate([np.stack([x + i, y + j], axis=1) for i in (0, 1) for j in (0, 1)])
    assert hull_area(mask) == pytest.approx(ConvexHull(corners).volume)
    assert hull_area(mask) >= mask.sum()


@given(arrays(np.bool_, st.integers(0, 30)))
def test_longest_run_is_that_of_groupby(line: np.ndarray) -> None:
    assert longest_run(line) == max((len(list(run)) for on, run in groupby(line.tolist()) if on), default=0)


def test_a_second_body_is_found_where_two_discs_touch_and_nowhere_else() -> None:
    one = disc(200, (100, 100), 60)
    two = disc(200, (60, 100), 40) | disc(200, (140, 100), 40)
    unequal = disc(200, (70, 100), 50) | disc(200, (145, 100), 25)
    assert second_body(depth_of(one)) < 0.1
    assert second_body(depth_of(two)) == pytest.approx(1, abs=0.06)
    assert second_body(depth_of(unequal)) == pytest.approx(0.5, abs=0.06)
    mask = two | unequal
    depth = depth_of(mask)
    y, x = np.mgrid[:200, :200]
    down, across = np.unravel_index(depth.argmax(), depth.shape)
    apart = np.hypot(y - down, x - across) >= depth.max() + depth
    assert second_body(depth) == pytest.approx(depth[apart].max() / depth.max(), abs=0.05)


def test_other_objects_and_the_border_are_counted() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[disc(400, (150, 200), 60)] = (120, 60, 140)
    assert surroundings(picture) == (0.0, 0)
    picture[disc(400, (320, 200), 30)] = (120, 60, 140)
    assert surroundings(picture)[0] == pytest.approx(0.25, abs=0.02)
    cut = picture[:, 120:]
    assert surroundings(cut)[1] == int(picture[:, 120].any(axis=1).sum())
    assert of(cut).values["on_border"] == pytest.approx(surroundings(cut)[1] / of(cut).values["diameter"])
    neighbour = picture[:, :320]  # only the small one is cut: framing drops it, and the cell itself is whole
    assert surroundings(np.ascontiguousarray(neighbour))[1] == 0


def test_a_disc_measures_as_a_disc() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[disc(300, (150, 150), 80)] = (200, 100, 255)
    values = of(picture).values
    assert list(values) == list(MEASURES)
    assert values["diameter"] == pytest.approx(160, rel=0.01)
    assert values["solidity"] > 0.98
    assert values["clipped"] == 1
    assert (values["contrast"], values["sharpness"]) == (0, 0)  # no contrast, of which nothing is a share
    assert values["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 255, abs=1)
    assert values["nuclear_stain"] == pytest.approx(-math.log10(101 / 256))


def test_a_cell_that_the_frame_cuts_touches_its_border() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[disc(300, (150, 150), 80)] = 120
    assert of(picture, 450).values["on_border"] == 0
    assert of(picture, 120).values["on_border"] > 0.3


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_picture_measures_alike(turn: int) -> None:
    cell = render_cell(8, "blast")
    plain, turned = of(cell), of(np.ascontiguousarray(np.rot90(cell, turn)))
    for name in ("diameter", "solidity", "on_border", "second_object", "brightness", "contrast", "clipped"):
        assert turned.values[name] == pytest.approx(plain.values[name], abs=1e-9), name
    assert turned.values["sharpness"] == pytest.approx(plain.values["sharpness"], abs=0.02)
    assert turned.values["second_body"] == pytest.approx(plain.values["second_body"], abs=0.03)
    assert turned.stain == pytest.approx(plain.stain, abs=0.05)


@settings(max_examples=30)
@given(st.integers(9, 60), st.integers(11, 255), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_every_picture_that_can_be_framed_has_finite_measurements(
    radius: int, level: int, spread: int, seed: int
) -> None:
    picture = np.zeros((150, 140, 3), np.uint8)
    mask = disc(150, (70, 75), radius)[:, :140]
    noise = np.random.default_rng(seed).normal(level, spread, (150, 140, 3))
    picture[mask] = np.clip(noise, 11, 255)[mask].astype(np.uint8)
    found = of(picture)
    assert np.isfinite([*found.values.values(), *found.stain]).all()
    for name in ("solidity", "second_object", "second_body", "clipped"):
        assert 0 <= found.values[name] <= 1, name


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no cell"):
        measure_quality(np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90, 3), np.uint8))
