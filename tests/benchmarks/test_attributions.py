"""Reference explanations against the closed form, and against what each must add up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attributions import patches, reference
from leukoscope.errors import ModelError
from leukoscope.models import CellClassifier, closed_form_cam, create_model

SIZE = 56
PATCH = patches(SIZE)


@pytest.fixture(params=["crse_cnn", "plain_cnn"])
def model(request: pytest.FixtureRequest) -> CellClassifier:
    torch.manual_seed(2)
    return create_model(request.param, widths=(4, 6, 8)).eval()


@pytest.fixture
def frames() -> np.ndarray:
    cells = np.random.default_rng(0).integers(20, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    cells[:, :10] = cells[:, -10:] = cells[:, :, :10] = cells[:, :, -10:] = 0
    return cells


def _x(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def test_grad_cam_by_a_backward_pass_is_the_closed_form(model: CellClassifier, frames: np.ndarray) -> None:
    with torch.no_grad():
        closed = closed_form_cam(model, model.forward_features(_x(frames))).numpy()
    assert reference("gradcam", model, SIZE)(frames) == pytest.approx(closed, abs=1e-5)


def test_finer_maps_have_twice_the_fields_and_leave_no_hook(model: CellClassifier, frames: np.ndarray) -> None:
    coarse, fine = reference("hirescam", model, SIZE)(frames), reference("hirescam finer", model, SIZE)(frames)
    assert fine.shape[1:] == tuple(2 * side for side in coarse.shape[1:])
    assert np.abs(fine).max() > 0
    assert not any(module._forward_hooks for module in model.modules())


def test_hirescam_adds_up_to_the_logit_where_all_that_follows_is_linear(frames: np.ndarray) -> None:
    torch.manual_seed(3)
    model = create_model("crse_cnn", widths=(4, 6)).eval()
    with torch.no_grad():
        wanted = model(_x(frames))[:, 0].numpy() - float(model.head.bias)
    assert reference("hirescam", model, SIZE)(frames).sum(axis=(1, 2)) == pytest.approx(wanted, abs=1e-5)


def test_an_unknown_method_is_refused(model: CellClassifier) -> None:
    with pytest.raises(ModelError, match="no explanation"):
        reference("tea leaves", model, SIZE)


def test_integrated_gradients_add_up_to_the_difference(model: CellClassifier, frames: np.ndarray) -> None:
    found = reference("integrated gradients", model, SIZE)(frames)
    with torch.no_grad():
        wanted = (model(_x(frames)) - model(torch.zeros(1, 3, SIZE, SIZE)))[:, 0].numpy()
    assert found.shape[1:] == (PATCH, PATCH)
    assert found.sum(axis=(1, 2)) * (SIZE / PATCH) ** 2 == pytest.approx(wanted, rel=0.15, abs=0.02)


def test_occlusion_finds_the_patch_that_counts(frames: np.ndarray) -> None:

    class Red(CellClassifier):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1, 20:24, 24:28].mean((2, 3))

    frames[:, 20:24, 24:28, 0] = 255
    found = reference("occlusion", Red(), SIZE)(frames)
    assert all(np.unravel_index(np.argmax(each), each.shape) == (5, 6) for each in found)
    assert np.count_nonzero(found[0]) == 1
