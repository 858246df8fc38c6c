"""An eye and a compact network in one graph: their logits' sum, each seeing what it sees alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from leukoscope.models import closed_form_cam, create_model
from leukoscope.models.compact import CompactCNN
from leukoscope.models.eye import Eye
from leukoscope.models.pair import Pair
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
WIDTHS = (4, 6, 8, 10)


def cells() -> torch.Tensor:
    """Two textured discs on black, 96 px."""
    y, x = torch.meshgrid(*(torch.arange(96) - 48,) * 2, indexing="ij")
    inside = torch.stack([(y**2 + x**2).sqrt() < radius for radius in (25, 38)])[:, None].float()
    return inside * (0.2 + 0.7 * torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))


def halves() -> tuple[Eye, CompactCNN]:
    torch.manual_seed(5)
    eye = create_model("eye", components=8, units=12).eval()
    compact = create_model("compact_cnn", widths=WIDTHS, inside=True).eval()
    assert isinstance(eye, Eye)
    assert isinstance(compact, CompactCNN)
    return eye, compact


def joined(eye: Eye, compact: CompactCNN) -> Pair:
    pair = create_model("pair", components=8, units=3, widths=WIDTHS).eval()
    assert isinstance(pair, Pair)
    pair.trunk.load_state_dict(eye.trunk.state_dict())
    head = {name: each.numpy() for name, each in eye.state_dict().items() if not name.startswith("features.")}
    pair.join(head, compact, (0.5, 0.25))
    return pair


def test_the_logit_is_the_sum_of_both_as_each_sees_the_cell_alone() -> None:
    eye, compact = halves()
    pair, x = joined(eye, compact), cells()
    small = F.avg_pool2d(x, 3)
    torch.testing.assert_close(pair(x), 0.5 * eye(x) + 0.25 * compact(small), rtol=1e-4, atol=1e-5)
    seen = pair.embed(pair.forward_features(x))
    torch.testing.assert_close(seen[:, :8], eye.embed(eye.forward_features(x)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[:, 8:], compact.embed(compact.forward_features(small)), rtol=1e-4, atol=1e-5)


def test_all_of_both_halves_heat_lies_in_the_cell() -> None:
    eye, compact = halves()
    pair, x = joined(eye, compact), cells()
    heat = closed_form_cam(pair, pair.forward_features(x))
    ours = closed_form_cam(eye, eye.forward_features(x)).sum((1, 2))
    small = F.avg_pool2d(x, 3)
    theirs = closed_form_cam(compact, compact.forward_features(small)).sum((1, 2))
    torch.testing.assert_close(heat.sum((1, 2)), 0.5 * ours + 0.25 * theirs, rtol=1e-3, atol=1e-4)
    shown = pair.shown_map(heat, x)
    assert not shown[x.amax(1) == 0].any()
    torch.testing.assert_close(shown.sum((1, 2)), heat.sum((1, 2)), rtol=1e-3, atol=1e-4)
