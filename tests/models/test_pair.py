"""An eye and a compact network in one graph: the mean of their logits, each seeing what it sees alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from leukoscope.cells.frame import resize_frame
from leukoscope.errors import ModelError
from leukoscope.models import closed_form_cam, create_model
from leukoscope.models.compact import CompactCNN, cell_mask
from leukoscope.models.eye import Eye
from leukoscope.models.pair import Pair, both_views
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
WIDTHS = (4, 6, 8, 10)
SIDE = 170


def cells() -> torch.Tensor:
    """Two textured discs on black, uint8 [2, 170, 170, 3]."""
    y, x = torch.meshgrid(*(torch.arange(SIDE) - SIDE // 2,) * 2, indexing="ij")
    inside = torch.stack([(y**2 + x**2).sqrt() < radius for radius in (45, 66)])[..., None]
    levels = torch.randint(50, 230, (2, SIDE, SIDE, 3), generator=torch.Generator().manual_seed(0))
    return (levels * inside).to(torch.uint8)


def halves() -> tuple[Eye, CompactCNN]:
    torch.manual_seed(5)
    eye = create_model("eye", components=8, units=12).eval()
    compact = create_model("compact_cnn", widths=WIDTHS).eval()
    assert isinstance(eye, Eye)
    assert isinstance(compact, CompactCNN)
    return eye, compact


def joined(eye: Eye, compact: CompactCNN) -> Pair:
    pair = create_model("pair", components=8, units=3, widths=WIDTHS).eval()
    assert isinstance(pair, Pair)
    pair.trunk.load_state_dict(eye.trunk.state_dict())
    pair.join({name: each.numpy() for name, each in eye.head_state().items()}, compact)
    return pair


def floats(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 3, 1, 2).float() / 255


def test_each_half_is_shown_what_its_recipe_shows_it() -> None:
    """The middle 320 of 340 px at 288, and the whole frame at 112, here at half of that: as Pillow resizes them."""
    frames = cells()
    whole, small = both_views(frames)
    for shown, side, size in ((whole, 160, 144), (small, 170, 56)):
        start = (SIDE - side) // 2
        middle = frames.numpy()[0, start : start + side, start : start + side]
        wanted = resize_frame(np.ascontiguousarray(middle), size).astype(float)
        assert shown.shape == (2, 3, size, size)
        assert np.abs(shown[0].permute(1, 2, 0).numpy() * 255 - wanted).max() <= 1.01  # Pillow rounds twice
    with pytest.raises(ModelError, match="frames of 340 px, not of 300"):
        both_views(torch.zeros(1, 300, 300, 3, dtype=torch.uint8))


def test_the_logit_is_the_mean_of_both_as_each_sees_the_cell_alone() -> None:
    eye, compact = halves()
    pair, frames = joined(eye, compact), cells()
    whole, small = both_views(frames)
    told = pair(floats(frames))
    torch.testing.assert_close(told, (eye(whole) + compact(small)) / 2, rtol=1e-4, atol=1e-5)
    seen = pair.embed(pair.forward_features(floats(frames)))
    torch.testing.assert_close(seen[:, :8], eye.embed(eye.forward_features(whole)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[:, 8:], compact(small), rtol=1e-4, atol=1e-5)


def test_the_map_sums_up_to_the_answer_and_each_half_tells_the_places_that_it_tells_alone() -> None:
    eye, compact = halves()
    pair, frames = joined(eye, compact), cells()
    whole, small = both_views(frames)
    x = floats(frames)

    def shown_by(pair: Pair) -> np.ndarray:
        features = pair.forward_features(x)
        logit = pair.forward_head(features)[:, 0]
        shown = pair.shown_map(closed_form_cam(pair, features), x, logit)
        assert shown.shape == (2, 153, 153)  # the eye's 144 px of 160, and black around them
        torch.testing.assert_close(shown.sum((1, 2)), logit, rtol=1e-3, atol=1e-3)
        return shown.detach().numpy()

    both = shown_by(pair)
    with torch.no_grad():
        pair.project.weight[-1] = 0  # the compact network says nothing
    alone = shown_by(pair)
    ours = eye.shown_map(closed_form_cam(eye, eye.forward_features(whole)), whole, eye(whole)[:, 0]).detach().numpy()
    theirs = closed_form_cam(compact, compact.forward_features(small))
    theirs = theirs.detach().numpy()
    inside = (cell_mask(whole, 1)[:, 0] > 0).numpy()  # without a rim of a pixel, where the trunk sees less of the cell
    for cell in range(2):
        where = np.pad(inside[cell], ((4, 5), (4, 5)))
        for told, wanted, off in (
            (alone[cell], np.pad(ours[cell], ((4, 5), (4, 5))) / 2, 1e-3),
            (both[cell] - alone[cell], enlarged(theirs[cell], 153) / 2, 0.1),
        ):
            apart = told - wanted  # alike but for what is the same everywhere in the cell
            assert np.ptp(apart[where]) <= off * np.ptp(wanted)
        assert np.abs(both[cell][~where]).sum() < 0.01 * np.abs(both[cell]).sum()


def enlarged(coarse: np.ndarray, side: int) -> np.ndarray:
    """By SciPy's linear interpolation; what a position holds is shared out, so that the sum stays."""
    place = (np.arange(side) + 0.5) * len(coarse) / side - 0.5
    found = ndimage.map_coordinates(coarse, np.meshgrid(place, place, indexing="ij"), order=1, mode="nearest")
    return found * coarse.sum() / found.sum()


def test_without_a_sheet_it_is_the_same() -> None:
    pair, frames = joined(*halves()), cells()
    x = floats(frames)
    features = pair.forward_features(x)
    logit, heat, seen = pair.explained(frames, SIDE)
    torch.testing.assert_close(logit, pair.forward_head(features)[:, 0])
    torch.testing.assert_close(heat, pair.shown_map(closed_form_cam(pair, features), x, logit))
    torch.testing.assert_close(seen, pair.embed(features))
