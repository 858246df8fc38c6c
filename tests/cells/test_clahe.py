"""CLAHE against Zuiderveld's method written out, and what it must leave alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.cells import Clahe, Preparation, clahe, frame_cell, prepare
from leukoscope.datasets.synthetic import render_cell


def clipped_equalisation(lightness: np.ndarray, clip_limit: float) -> np.ndarray:
    """One tile by hand: clip the histogram, spread what was cut off over all bins, map by the cumulative sum."""
    bins = [int((lightness == level).sum()) for level in range(256)]
    bound = max(int(clip_limit * lightness.size / 256), 1)
    excess = sum(max(held - bound, 0) for held in bins)
    share, rest = divmod(excess, 256)
    bins = [min(held, bound) + share for held in bins]
    if rest:
        for level in list(range(0, 256, max(256 // rest, 1)))[:rest]:
            bins[level] += 1
    scale = np.float32(255) / np.float32(lightness.size)  # single precision decides ties, as in OpenCV
    return np.rint(np.cumsum(bins).astype(np.float32) * scale)[lightness].astype(np.uint8)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    side=st.integers(3, 40),
    clip_limit=st.sampled_from([0.5, 1.0, 2.0, 3.7, 8.0, 40.0]),
)
def test_one_tile_is_clipped_equalisation_of_lightness(seed: int, side: int, clip_limit: float) -> None:
    rng = np.random.default_rng(seed)
    rgb = np.clip(rng.normal((90, 50, 110), 25, (side, side + 3, 3)), 1, 255).astype(np.uint8)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clipped_equalisation(lab[..., 0], clip_limit)
    np.testing.assert_array_equal(clahe(rgb, clip_limit=clip_limit, tiles=1), cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def test_tiles_adapt_to_their_surroundings() -> None:
    """Two halves of different brightness: with tiles, each uses the range; with one tile, they share it."""
    rng = np.random.default_rng(0)
    grey = np.concatenate([rng.integers(40, 60, (64, 32)), rng.integers(180, 200, (64, 32))], axis=1)
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    spread = {tiles: clahe(rgb, clip_limit=40, tiles=tiles)[:, :12, 0].std() for tiles in (1, 8)}
    assert spread[8] > 1.5 * spread[1] > 1.5 * grey[:, :12].std()


@pytest.mark.parametrize("tiles", [1, 8, 32])
def test_the_black_surround_stays_black_and_the_cell_gains_contrast(tiles: int) -> None:
    frame = frame_cell(render_cell(1, "blast"))
    kept = frame.copy()
    equalised = clahe(frame, tiles=tiles)
    np.testing.assert_array_equal(frame, kept)
    surround = ~frame.any(axis=2)
    assert surround.mean() > 0.5
    assert not equalised[surround].any()
    middle = np.s_[175:275, 175:275]
    if tiles > 1:
        assert equalised[middle][..., 1].std() > 1.2 * frame[middle][..., 1].std()


def test_colour_is_kept() -> None:
    frame = frame_cell(render_cell(2, "normal"))
    inside = frame.min(axis=2) > 15
    before, after = (cv2.cvtColor(a, cv2.COLOR_RGB2LAB)[inside].astype(int) for a in (frame, clahe(frame)))
    assert np.abs(before - after)[:, 0].max() > 10
    assert np.percentile(np.abs(before - after)[:, 1:], 95) <= 4


def test_prepare_frames_first_and_equalises_second() -> None:
    rgb = np.roll(render_cell(5, "blast"), 20, axis=1)
    frame = frame_cell(rgb, 320)
    np.testing.assert_array_equal(prepare(rgb, Preparation(frame_size=320)), frame)
    settings = Preparation(frame_size=320, clahe=Clahe(clip_limit=3.0, tiles=4))
    np.testing.assert_array_equal(prepare(rgb, settings), clahe(frame, clip_limit=3.0, tiles=4))
