"""Finding and framing the cell, against a slow search written without OpenCV, by hand, and on the real cells."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.cells import FRAME_SIZE, cell_mask, frame_cell, read_picture, resize_frame
from leukoscope.cells.frame import MIN_AREA, NEAR_BLACK
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import PictureError

EIGHT = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
FOUR = [(-1, 0), (0, -1), (0, 1), (1, 0)]


def flood(allowed: np.ndarray, seeds: list[tuple[int, int]], steps: list[tuple[int, int]]) -> np.ndarray:
    """All that can be walked to from the seeds over allowed pixels."""
    reached, queue = np.zeros_like(allowed), deque(seed for seed in seeds if allowed[seed])
    while queue:
        y, x = queue.popleft()
        if reached[y, x]:
            continue
        reached[y, x] = True
        for down, right in steps:
            at = (y + down, x + right)
            if 0 <= at[0] < allowed.shape[0] and 0 <= at[1] < allowed.shape[1] and allowed[at] and not reached[at]:
                queue.append(at)
    return reached


def searched_mask(bright: np.ndarray) -> np.ndarray | None:
    """Largest 8-connected component with its holes closed; None where two are largest or none is large enough."""
    left, parts = bright.copy(), []
    while left.any():
        part = flood(left, [tuple(np.argwhere(left)[0])], EIGHT)
        parts.append(part)
        left &= ~part
    sizes = sorted(int(part.sum()) for part in parts)
    if not sizes or sizes[-1] < MIN_AREA or sizes[-2:].count(sizes[-1]) > 1:
        return None
    component = np.pad(max(parts, key=np.sum), 1)
    return ~flood(~component, [(0, 0)], FOUR)[1:-1, 1:-1]


def field(height: int = 120, width: int = 140) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def disc(height: int = 120, width: int = 140, at: tuple[float, float] = (50, 60), radius: float = 30) -> np.ndarray:
    """A cell of random colours above near-black."""
    y, x = np.mgrid[:height, :width]
    inside = (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2
    rgb = np.random.default_rng(0).integers(NEAR_BLACK + 1, 256, (height, width, 3), dtype=np.uint8)
    return rgb * inside[..., None].astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(24, 48),
    width=st.integers(24, 48),
    share=st.floats(0.35, 0.75),
    coarse=st.sampled_from([1, 2, 3]),
)
def test_the_mask_is_that_of_a_slow_search(seed: int, height: int, width: int, share: float, coarse: int) -> None:
    rng = np.random.default_rng(seed)
    bright = np.zeros((height, width), bool)
    inner = rng.random((height // coarse + 1, width // coarse + 1)) < share
    bright[2:, 1:-2] = np.kron(inner, np.ones((coarse, coarse), bool))[: height - 2, : width - 3]
    rgb = rng.integers(0, NEAR_BLACK + 1, (height, width, 3), dtype=np.uint8)
    channel = rng.integers(0, 3, (height, width, 1)) == np.arange(3)  # one channel above near-black is enough
    rgb = np.where(bright[..., None] & channel, NEAR_BLACK + 1, rgb).astype(np.uint8)
    expected = searched_mask(bright)
    if expected is None:
        return
    np.testing.assert_array_equal(cell_mask(rgb), expected)
    again = frame_cell(frame_cell(rgb, 64), 64)
    np.testing.assert_array_equal(frame_cell(rgb, 64), again)


def test_the_cell_is_centred_and_unchanged() -> None:
    rgb = disc(at=(50, 60), radius=30)  # rows 20..80, columns 30..90: 61 x 61
    frame = frame_cell(rgb, 101)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame[20:81, 20:81], rgb[20:81, 30:91])
    frame[20:81, 20:81] = 0
    assert not frame.any()


def test_the_default_frame_is_that_of_the_c_nmc_pictures() -> None:
    assert frame_cell(disc()).shape == (FRAME_SIZE, FRAME_SIZE, 3) == (450, 450, 3)


def test_noise_outside_becomes_zero_and_is_kept_inside() -> None:
    clean = disc()
    noise = np.random.default_rng(1).integers(0, NEAR_BLACK + 1, clean.shape, dtype=np.uint8)
    noisy = np.where(clean.any(axis=2, keepdims=True), clean, noise)
    np.testing.assert_array_equal(cell_mask(noisy), cell_mask(clean))
    np.testing.assert_array_equal(frame_cell(noisy), frame_cell(clean))


def test_holes_belong_to_the_cell_with_their_own_pixels() -> None:
    rgb = disc()
    rgb[45:55, 55:65] = (3, 7, 10)
    assert cell_mask(rgb)[50, 60]
    assert frame_cell(rgb, 61)[30, 30].tolist() == [3, 7, 10]


def test_smaller_objects_vanish() -> None:
    rgb = disc(at=(40, 50), radius=25)
    both = np.maximum(rgb, disc(at=(100, 120), radius=12))
    np.testing.assert_array_equal(frame_cell(both), frame_cell(rgb))


def test_corners_connect_and_faces_close_holes() -> None:
    rgb = field()
    rgb[20:40, 20:40] = 200
    rgb[40:60, 40:60] = 200  # touches the first square by a corner
    assert cell_mask(rgb).sum() == 800


@pytest.mark.parametrize("size", [40, 41])
def test_a_cell_larger_than_the_frame_is_cropped_to_its_middle(size: int) -> None:
    rgb = field()
    rgb[20:90, 10:120] = np.random.default_rng(2).integers(20, 256, (70, 110, 3), dtype=np.uint8)
    top, left = 20 + (70 - size + 1) // 2, 10 + (110 - size + 1) // 2
    frame = frame_cell(rgb, size)
    np.testing.assert_array_equal(frame, rgb[top : top + size, left : left + size])


def test_cropped_along_one_side_only() -> None:
    rgb = field(60, 200)
    rgb[20:40, 20:180] = 99
    frame = frame_cell(rgb, 100)
    assert (frame == 99).all(axis=2).sum() == 20 * 100
    assert (frame[40:60] == 99).all()


def test_a_cell_at_the_edge_of_the_picture_is_moved_to_the_middle() -> None:
    rgb = disc(at=(0, 60), radius=30)  # half of it is outside
    frame = frame_cell(rgb, 81)
    np.testing.assert_array_equal(frame[25:56, 10:71], rgb[:31, 30:91])


@pytest.mark.parametrize("make", [np.asfortranarray, lambda a: np.flip(a[..., ::-1].copy(), 2)])
def test_any_memory_layout(make: object) -> None:
    rgb = disc()
    other = make(rgb)  # type: ignore[operator]
    other.flags.writeable = False
    assert not other.flags.c_contiguous
    np.testing.assert_array_equal(frame_cell(other), frame_cell(rgb))
    np.testing.assert_array_equal(cell_mask(other), cell_mask(rgb))


@pytest.mark.parametrize("kind", ["blast", "normal"])
@pytest.mark.parametrize("seed", range(6))
def test_framing_twice_changes_nothing(kind: str, seed: int) -> None:
    once = frame_cell(np.roll(render_cell(seed, kind), (17, -23), axis=(0, 1)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(frame_cell(once), once)


@pytest.mark.parametrize("level", [0, 10])
def test_all_black(level: int) -> None:
    for find in (cell_mask, frame_cell):
        with pytest.raises(PictureError, match="the picture is all black; give one segmented cell on a black surround"):
            find(np.full((50, 50, 3), level, np.uint8))


def test_one_channel_above_near_black_makes_a_cell() -> None:
    rgb = np.full((50, 50, 3), 10, np.uint8)
    rgb[10:30, 10:30, 1] = 11
    assert cell_mask(rgb).sum() == 400


def test_no_black_surround() -> None:
    rgb = np.full((60, 60, 3), 230, np.uint8)
    rgb[20:40, 20:40] = (90, 30, 110)
    with pytest.raises(PictureError, match="no black surround: 100% of the outermost pixels are not black; give one"):
        frame_cell(rgb)
    rgb[:40] = 0  # two ends and a third of either side are left: 0.5 or more of the ring is black
    rgb[40:, :20] = 0
    frame_cell(rgb)


@pytest.mark.parametrize(("side", "fits"), [(14, False), (15, True)])
def test_too_small(side: int, fits: bool) -> None:
    rgb = field()
    rgb[50 : 50 + side, 50 : 50 + side] = 120
    if fits:
        assert cell_mask(rgb).sum() == 225
        return
    with pytest.raises(PictureError, match="the largest object has 196 px, a cell has at least 200 px; give the cell"):
        frame_cell(rgb)


def test_too_large_for_a_cell() -> None:
    rgb = field(1000, 1000)
    rgb[20:980, 40:941] = 120
    with pytest.raises(PictureError, match="the largest object is 901 x 960 px, too large for a cell"):
        frame_cell(rgb)
    assert frame_cell(rgb, 480).all()


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
        np.zeros((50, 0, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_pictures(rgb: np.ndarray) -> None:
    with pytest.raises(PictureError, match="a picture is uint8"):
        frame_cell(rgb)


def triangle_resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Antialiased bilinear by its definition: a triangle as wide as the reduction, in floating point."""
    scale = frame.shape[0] / size
    width = max(scale, 1)
    centres = (np.arange(size) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(frame.shape[0]) - centres[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.tensordot(weights, frame.astype(float), (1, 0))
    return np.tensordot(weights, rows, (1, 1)).transpose(1, 0, 2)


@pytest.mark.parametrize("size", [48, 96, 150, 225, 300])
def test_resize_is_antialiased_bilinear(size: int) -> None:
    frame = frame_cell(render_cell(3, "blast", size=225), 225)
    got = resize_frame(frame, size)
    assert got.dtype == np.uint8
    assert got.shape == (size, size, 3)
    assert np.abs(got - triangle_resize(frame, size)).max() <= 1.01  # Pillow rounds after each of its two passes
    if size == 225:
        np.testing.assert_array_equal(got, frame)


def test_resize_does_not_alias() -> None:
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(resize_frame(stripes, 60)[:, 2:-2].astype(int) - 100).max() <= 2


@pytest.mark.data
def test_150_real_cells_are_framed_and_framing_twice_changes_nothing(real_data: Path) -> None:
    paths = sorted((real_data / "cnmc2019").rglob("*.webp"))
    for index in np.random.default_rng(0).permutation(len(paths))[:150]:
        frame = frame_cell(read_picture(paths[index]).rgb)
        np.testing.assert_array_equal(frame_cell(frame), frame, err_msg=str(paths[index]))


@pytest.mark.data
def test_masks_of_re_encoded_cells_agree_with_the_originals(real_data: Path) -> None:
    encoded = {path.stem: path for path in (real_data / "cnmc2019").rglob("*.webp")}
    pairs = [(p, encoded[p.stem]) for p in (real_data / "cnmc2019-originals").rglob("*.bmp") if p.stem in encoded]
    assert len(pairs) >= 50
    overlaps, errors = [], []
    for original, copy in pairs:
        truth, mask = read_picture(original).rgb.any(axis=2), cell_mask(read_picture(copy).rgb)
        overlaps.append((truth & mask).sum() / (truth | mask).sum())
        errors.append(mask.sum() / truth.sum() - 1)
    assert min(overlaps) > 0.98  # three originals have holes, which the mask closes
    assert np.mean(overlaps) > 0.997
    assert abs(np.mean(errors)) < 0.002


@pytest.mark.data
def test_pictures_with_surroundings_are_refused(real_data: Path) -> None:
    paths = [*sorted((real_data / "pbc").rglob("*.jpg"))[::100], *sorted((real_data / "bccd").rglob("*.jpg"))[::40]]
    assert len(paths) >= 10
    for path in paths:
        with pytest.raises(PictureError, match="no black surround"):
            frame_cell(read_picture(path).rgb)


def test_resize_matches_pillow_in_float() -> None:
    frame = frame_cell(render_cell(4, "normal", size=225), 225)
    channel = Image.fromarray(frame[..., 1].astype(np.float32))
    exact = np.asarray(channel.resize((100, 100), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(triangle_resize(frame, 100)[..., 1], exact, atol=1e-3)
