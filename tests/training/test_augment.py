"""Random changes of pictures, against exact transforms and other libraries' formulas."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from leukoscope.training import augment
from leukoscope.training.augment import Draws
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
    }
    maps = torch.tensor(matrix, dtype=torch.float32).expand(4, 2, 3)
    return Draws(maps=maps, **{**neutral, **changes})


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
    settings = Augmentation(brightness=0.5, channels=0.5, gamma=0.5, saturation=1, sharpness=2)
    for seed in range(5):
        out = augment.apply(frames, augment.draw(4, settings, torch.Generator().manual_seed(seed)))
        assert (out[(frames.amax(1, keepdim=True) == 0).expand_as(out)] == 0).all()
        assert torch.isfinite(out).all()


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
