"""The resize of a graph as products of bands: the filter of Pillow and of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from leukoscope.models.resize import resize, triangle_filter


@pytest.mark.parametrize(("side", "size"), [(340, 128), (450, 224), (100, 50), (90, 37), (33, 32), (24, 40)])
def test_it_is_antialiased_bilinear_interpolation(side: int, size: int) -> None:
    frames = torch.from_numpy(np.random.default_rng(side).integers(0, 256, (2, side, side, 3), dtype=np.uint8))
    found = resize(frames, size)
    planes = frames.permute(0, 3, 1, 2).float()
    wanted = F.interpolate(planes, size=(size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, wanted, atol=4e-3, rtol=0)  # its weights are of single precision
    plane = Image.fromarray(planes[1, 2].numpy()).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found[1, 2].numpy(), np.asarray(plane), atol=1e-4)  # Pillow's are not


def test_rows_and_columns_are_not_swapped() -> None:
    frames = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    frames[0, 8:16, :, 0] = 200  # a line across
    frames[0, :, 40:48, 2] = 100  # a line down
    small = resize(frames, 32)[0]
    assert (small[0, 5, 2:30] > 150).all()
    assert (small[0, 20] == 0).all()
    assert (small[2, 2:30, 21] > 75).all()
    assert (small[2, :, 5] == 0).all()
    assert (small[1] == 0).all()


def test_each_output_line_is_a_mean_of_its_neighbourhood() -> None:
    weights = triangle_filter(340, 128)
    assert (np.count_nonzero(weights, axis=1) <= 6).all()
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])


@pytest.mark.parametrize(("side", "size"), [(340, 112), (450, 112), (450, 224), (90, 37), (24, 40)])
def test_the_sums_are_exact_in_any_order(side: int, size: int) -> None:
    frames = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    frames[0, : side // 2] = 255  # the largest sums
    weights = triangle_filter(side, size)
    total = np.einsum("ai,ijc,bj->cab", weights, frames[0].astype(np.int64), weights, optimize=True)
    sums = weights.sum(axis=1)
    wanted = (total.astype(np.float32) / sums.astype(np.float32)[:, None]) / sums.astype(np.float32)
    found = resize(torch.from_numpy(frames), size)[0].numpy()
    np.testing.assert_array_equal(found, wanted)  # one rounding of the total, and two of the quotients
