"""Random changes of pictures, against exact transforms and other libraries' formulas."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from leukoscope.training import augment
from leukoscope.training.augment import Draws, compress, quantisation
from leukoscope.training.recipe import Augmentation

PICTURES = torch.rand(4, 3, 33, 33, generator=torch.Generator().manual_seed(0))
IDENTITY = [[1, 0, 0], [0, 1, 0]]


def draws(matrix: list[list[float]] = IDENTITY, **changes: torch.Tensor) -> Draws:
    """Neutral draws for four pictures but for what is named."""
    neutral = {
        "gain": torch.ones(4, 3),
        "gamma": torch.ones(4, 3),
        "saturation": torch.ones(4),
        "sharpness": torch.ones(4),
        "stain": torch.eye(3).expand(4, 3, 3),
        "outline": torch.zeros(4),
        "scraps": torch.zeros(4, 2),
        "quality": torch.full((4,), 100.0),
    }
    maps = torch.tensor(matrix, dtype=torch.float32).expand(4, 2, 3)
    return Draws(maps=maps, **{**neutral, **changes})


def discs(radius: float = 10, size: int = 48) -> torch.Tensor:
    """Four cells: discs of dark purple on black, float [4, 3, size, size]."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = ((row - size // 2) ** 2 + (column - size // 2) ** 2 <= radius**2).float()
    return (torch.tensor([0.3, 0.2, 0.4])[:, None, None] * inside).expand(4, -1, -1, -1)


def test_quarter_turn_and_flips_are_exact() -> None:
    turned = augment.apply(PICTURES, draws([[0, -1, 0], [1, 0, 0]]))
    torch.testing.assert_close(turned, torch.rot90(PICTURES, 1, (2, 3)), atol=1e-5, rtol=0)
    flipped = augment.apply(PICTURES, draws([[-1, 0, 0], [0, 1, 0]]))
    torch.testing.assert_close(flipped, PICTURES.flip(3), atol=1e-5, rtol=0)


def test_nothing_is_changed_by_zero_ranges() -> None:
    drawn = augment.draw(4, Augmentation(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment.apply(PICTURES.clone(), drawn), PICTURES, atol=1e-5, rtol=0)


def test_draws_stay_in_their_ranges_and_fill_them() -> None:
    settings = Augmentation(flip_horizontal=True, flip_vertical=True, rotation_degrees=20, zoom=0.25, brightness=0.1)
    drawn = augment.draw(4000, settings, torch.Generator().manual_seed(0))
    affine, brightness = drawn.maps, drawn.gain
    assert (brightness == brightness[:, :1]).all()  # no channel jitter was asked for
    matrix = affine[:, :, :2].double()
    determinant = torch.linalg.det(matrix)
    scale = 1 / determinant.abs().sqrt()
    assert (affine[:, :, 2] == 0).all()
    assert 1 / 1.2501 < scale.min() < 0.81
    assert 1.24 < scale.max() < 1.2501
    assert 0.45 < (determinant < 0).double().mean() < 0.55  # one flip mirrors, two do not
    # what remains after the flips are taken out is a rotation within +-20 degrees
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    angle = (angle + 90) % 180 - 90
    assert 19.5 < angle.abs().max() < 20.01
    assert 0.9 <= brightness.min() < 0.901
    assert 1.099 < brightness.max() <= 1.1


def test_the_surround_stays_black_and_values_in_range() -> None:
    frames = torch.zeros(4, 3, 33, 33)
    frames[:, :, 12:21, 12:21] = 1.0
    settings = Augmentation(rotation_degrees=180, zoom=0.3, brightness=0.5)
    out = augment.apply(frames, augment.draw(4, settings, torch.Generator().manual_seed(5)))
    assert out.min() >= 0
    assert out.max() <= 1
    assert (out[:, :, 0] == 0).all()


def test_colour_draws_stay_in_their_ranges_and_fill_them() -> None:
    settings = Augmentation(channels=0.25, gamma=0.5, saturation=1.0, sharpness=1.5)
    drawn = augment.draw(4000, settings, torch.Generator().manual_seed(0))
    for values, low, high in (
        (drawn.gain, 0.75, 1.25), (drawn.gamma, 1 / 1.5, 1.5), (drawn.saturation, 0, 2), (drawn.sharpness, -0.5, 2.5),
    ):  # fmt: skip
        assert low - 1e-6 <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high + 1e-6
    assert torch.corrcoef(drawn.gain.T).triu(1).abs().max() < 0.06  # each channel its own draw


def test_light_and_colour_are_the_formulas() -> None:
    gain, gamma = torch.rand(4, 3) + 0.2, torch.rand(4, 3) + 0.5
    expected = torch.stack([(PICTURES[i].permute(1, 2, 0) ** gamma[i] * gain[i]).permute(2, 0, 1) for i in range(4)])
    torch.testing.assert_close(augment.apply(PICTURES, draws(gain=gain, gamma=gamma)), expected.clamp(0, 1))
    grey = augment.apply(PICTURES, draws(saturation=torch.zeros(4)))
    by_hand = 0.299 * PICTURES[:, 0] + 0.587 * PICTURES[:, 1] + 0.114 * PICTURES[:, 2]
    for channel in range(3):
        torch.testing.assert_close(grey[:, channel], by_hand)


def test_sharpness_nought_is_the_local_mean_and_two_doubles_the_detail() -> None:
    pictures = PICTURES * 0.4 + 0.3  # no clamping
    smooth = F.conv2d(pictures, torch.full((3, 1, 3, 3), 1 / 9), groups=3)
    inner = (..., slice(1, -1), slice(1, -1))
    blurred = augment.apply(pictures, draws(sharpness=torch.zeros(4)))
    torch.testing.assert_close(blurred[inner], smooth)
    crisp = augment.apply(pictures, draws(sharpness=torch.full((4,), 2.0)))
    torch.testing.assert_close(crisp[inner], (2 * pictures[inner] - smooth).clamp(0, 1))


def test_no_change_of_light_paints_the_surround() -> None:
    frames = torch.zeros(4, 3, 33, 33)
    frames[:, :, 12:21, 12:21] = torch.rand(4, 3, 9, 9) * 0.9 + 0.1
    settings = Augmentation(
        brightness=0.5, channels=0.5, gamma=0.5, saturation=1, sharpness=2, stain=0.3, compression=95
    )
    for seed in range(5):
        out = augment.apply(frames, augment.draw(4, settings, torch.Generator().manual_seed(seed)))
        assert (out[(frames.amax(1, keepdim=True) == 0).expand_as(out)] == 0).all()
        assert torch.isfinite(out).all()


def test_stain_mixes_optical_densities() -> None:
    matrix = torch.tensor([[1, 0.2, 0], [0, 1, -0.1], [0.1, 0, 1]])
    pictures = PICTURES * 0.5 + 0.2
    density = -np.log10(pictures.permute(0, 2, 3, 1).numpy().astype(np.float64))
    expected = 10 ** -(density @ matrix.numpy().T.astype(np.float64))
    out = augment.apply(pictures, draws(stain=matrix.expand(4, 3, 3))).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(out, expected.clip(0, 1), atol=1e-5)


def test_an_outline_moves_by_so_many_pixels_and_takes_in_ground() -> None:
    cells = discs()
    out = augment.apply(cells, draws(outline=torch.tensor([0.0, 2.0, -2.0, 1.0])))
    assert torch.equal(out[0], cells[0])  # not chosen
    radii = ((out.amax(1) > 0).sum((1, 2)) / np.pi).sqrt()
    torch.testing.assert_close(radii, torch.tensor([10.0, 12, 8, 11]), atol=0.35, rtol=0)
    inner = cells[1].amax(0) > 0
    torch.testing.assert_close(out[1][:, inner], cells[1][:, inner])  # the cell itself stays
    assert (out[1][:, ~inner & (out[1].amax(0) > 0)] > 0.8).all()  # bright ground


def test_a_scrap_hangs_and_a_bite_is_missing_where_the_angle_points() -> None:
    cells, down, right = discs(), np.pi / 2, 0.0
    scraps = torch.tensor([[0, 0], [right, 0.4], [down, -0.4], [down, 0.4]])
    out = augment.apply(cells, draws(scraps=scraps))
    assert torch.equal(out[0], cells[0])
    added, lost = (out.amax(1) > 0) & (cells.amax(1) == 0), (out.amax(1) == 0) & (cells.amax(1) > 0)
    rows, columns = torch.nonzero(added[1], as_tuple=True)
    assert columns.float().mean() > 24 + 10
    assert (rows.float().mean() - 24).abs() < 1
    rows, columns = torch.nonzero(lost[2], as_tuple=True)
    assert rows.float().mean() > 24 + 6
    assert (columns.float().mean() - 24).abs() < 1
    # Half a disc of 0.4 radii, less what the curved outline takes from it or leaves to it.
    assert 0.5 * np.pi * 16 < added[3].sum() < 0.8 * np.pi * 16
    assert 0.25 * np.pi * 16 < lost[2].sum() < 0.5 * np.pi * 16


def test_compression_is_that_of_a_jpeg_writer() -> None:
    texture = F.interpolate(torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3)), 48, mode="bicubic")
    pictures = (texture.clamp(0.05, 0.95) * 255).round() / 255
    for quality in (20, 50, 80):
        ours = compress(pictures, torch.tensor([float(quality)] * 2)).clamp(0, 1) * 255
        for i in range(2):
            content = io.BytesIO()
            picture = Image.fromarray((pictures[i].permute(1, 2, 0) * 255).round().byte().numpy())
            picture.save(content, "JPEG", quality=quality, subsampling=0)
            read = Image.open(content)
            assert [list(read.quantization[k]) for k in (0, 1)] == quantisation(torch.tensor([quality]))[0, :2].tolist()
            theirs = torch.from_numpy(np.asarray(read, np.float32)).permute(2, 0, 1)
            # The writer rounds to whole levels on the way, which now and then turns a coefficient of a block.
            changes = torch.stack([(out - pictures[i] * 255).flatten() for out in (ours[i], theirs)])
            assert torch.corrcoef(changes)[0, 1] > 0.95
            assert (ours[i] - theirs).abs().median() < 1 < changes[1].abs().mean()


def test_any_size_is_compressed_and_the_best_quality_changes_little() -> None:
    out = compress(PICTURES, torch.full((4,), 99.0))
    assert out.shape == PICTURES.shape
    assert (out - PICTURES).abs().max() < 0.05


def test_what_was_given_is_left_as_it_was() -> None:
    cells = discs().clone()
    before = cells.clone()
    settings = Augmentation(outline=2, scraps=1, compression=90, stain=0.2)
    augment.apply(cells, augment.draw(4, settings, torch.Generator().manual_seed(1)))
    assert torch.equal(cells, before)


def test_one_draw_per_picture() -> None:
    same = PICTURES[:1].expand(4, -1, -1, -1)
    out = augment.apply(same, augment.draw(4, Augmentation(rotation_degrees=20), torch.Generator().manual_seed(0)))
    assert all((out[i] - out[0]).abs().max() > 0.01 for i in range(1, 4))


def test_to_float() -> None:
    frames = torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8)
    out = augment.to_float(frames)
    assert out.shape == (2, 3, 5, 5)
    torch.testing.assert_close(out[1, 2, 3, 4], frames[1, 3, 4, 2] / 255)
    assert out.is_contiguous(memory_format=torch.channels_last)
