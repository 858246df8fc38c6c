"""What the compact network is blind to by construction, and what it costs."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.models import closed_form_cam, count_parameters, create_model
from leukoscope.models.compact import cell_mask, standardise_cell


def cells(count: int = 3, size: int = 64) -> torch.Tensor:
    """Textured discs of several sizes on black, float [N, 3, S, S]."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((count, size, size, 3), np.float32)
    for index, picture in enumerate(pictures):
        mask = np.zeros((size, size), np.uint8)
        cv2.circle(mask, (size // 2, size // 2), 14 + 5 * index, (1,), cv2.FILLED)
        picture[mask > 0] = rng.uniform(0.2, 0.5, (int(mask.sum()), 3))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def test_it_is_compact() -> None:
    assert count_parameters(create_model("compact_cnn")) <= 100_000


def test_parts_left_out_are_gone() -> None:
    whole = count_parameters(create_model("compact_cnn"))
    # A 1x1 projection and the scale and shift of its normalisation, at each of the four widths.
    projections = sum(i * o + 2 * o for i, o in ((4, 16), (16, 32), (32, 64), (64, 96)))
    gates = sum(2 * c * h + c + h for c, h in ((16, 4), (32, 4), (64, 4), (96, 6)))
    assert whole - count_parameters(create_model("compact_cnn", residual=False)) == projections == 9_184
    assert whole - count_parameters(create_model("compact_cnn", se_ratio=0)) == gates == 2_274


def test_exposure_white_balance_and_stain_strength_change_nothing() -> None:
    x = cells()
    gains = torch.tensor([0.6, 1.5, 0.9])[:, None, None]
    torch.testing.assert_close(standardise_cell(x * gains, 3), standardise_cell(x, 3), atol=0.03, rtol=0.03)
    torch.manual_seed(0)
    model = create_model("compact_cnn").eval()
    torch.testing.assert_close(model(x * gains), model(x), atol=0.02, rtol=0.02)
    bare = create_model("compact_cnn", standardise=False).eval()
    assert (bare(x * gains) - bare(x)).abs().max() > 1e-4  # the test can fail


def test_within_the_mask_each_colour_is_standardised() -> None:
    out = standardise_cell(cells(), 3).double()
    mask = out[:, 3].bool()
    for picture, inside in zip(out, mask, strict=True):
        for channel in picture[:3]:
            assert abs(float(channel[inside].mean())) < 1e-4
            assert abs(float(channel[inside].std(correction=0)) - 1) < 0.01
            assert (channel[~inside] == 0).all()


def test_the_mask_is_opencvs_box_filter_twice() -> None:
    x = cells()
    for rim in (1, 3, 5):
        for picture, found in zip(x, cell_mask(x, rim), strict=True):
            inside = (picture.amax(0) > 0).numpy().astype(np.float64)
            side = (2 * rim + 1, 2 * rim + 1)
            smooth = cv2.blur(inside, side, borderType=cv2.BORDER_CONSTANT)
            smooth = cv2.blur(smooth, side, borderType=cv2.BORDER_CONSTANT)
            clear = np.abs(smooth - 0.9) > 1e-6
            np.testing.assert_array_equal(found[0].numpy()[clear] > 0, (smooth > 0.9)[clear])
    assert torch.equal(cell_mask(x, 0), (x.amax(1, keepdim=True) > 0).float())


def test_a_tail_or_a_nick_moves_the_mask_less_than_the_outline() -> None:
    x = cells(2)[1:]
    ragged = x.clone()
    ragged[:, :, 31:34, 50:60] = 0.4  # a thin tail
    ragged[:, :, 12:16, 30:34] = 0  # a nick
    outline = ((x > 0) != (ragged > 0)).any(1).sum()
    tail = np.s_[:, :, 31:34, 53:60]
    assert (cell_mask(ragged, 3)[tail] == 0).all()
    assert (cell_mask(ragged, 0)[tail] == 1).all()
    assert (cell_mask(x, 3) != cell_mask(ragged, 3)).sum() < outline


def test_the_map_lies_in_the_cell_and_sums_up_to_the_answer() -> None:
    torch.manual_seed(0)
    model, x = create_model("compact_cnn").eval(), cells(size=96)
    x[:, :, 40:42, 5:7] = 0.5  # dust
    with torch.no_grad():
        model.head.bias.fill_(0.7)
    features = model.forward_features(x).detach().requires_grad_()
    logit = model.forward_head(features)[:, 0]
    (gradient,) = torch.autograd.grad(logit.sum(), features)
    coarse = (gradient * features).sum(1)
    shown = model.shown_map(closed_form_cam(model, features), x, logit).detach()
    torch.testing.assert_close(shown.sum((1, 2)), logit.detach(), rtol=1e-4, atol=1e-5)
    own = cell_mask(x, 1)[:, 0] > 0
    assert not shown[x.amax(1) == 0].any()
    assert not shown[:, :, :10].any()
    places = F.interpolate(coarse[:, None], scale_factor=8, mode="bilinear")[:, 0].detach() / 64
    for told, wanted, inside in zip(shown, places, own, strict=True):
        apart = (told - wanted)[inside]  # alike but for what is the same everywhere in the cell
        assert float(apart.max() - apart.min()) < 1e-3 * float(wanted.max() - wanted.min())


def test_an_empty_picture_gives_a_finite_answer() -> None:
    model = create_model("compact_cnn").eval()
    x = torch.zeros(1, 3, 64, 64)
    logit = model(x)[:, 0]
    assert torch.isfinite(logit).all()
    assert not model.shown_map(closed_form_cam(model, model.forward_features(x)), x, logit).any()
