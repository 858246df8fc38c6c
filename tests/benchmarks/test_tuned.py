"""A stage tuned on kept maps: untouched it is the trunk, part of the way it is in between, pulled hard it stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tuned
from few_kinds import STAGES, TRUNK
from leukoscope.datasets.synthetic import render_cell
from leukoscope.models.masked import MaskedTrunk
from timm_presence import needs_timm

SIDE = 64
pytestmark = needs_timm


@pytest.fixture(scope="module")
def trunk() -> MaskedTrunk:
    torch.manual_seed(0)
    return MaskedTrunk(TRUNK, STAGES).eval()


@pytest.fixture(scope="module")
def weights(trunk: MaskedTrunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in trunk.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    kinds = ["blast", "normal"] * 4
    return np.stack([render_cell(seed, kind, size=SIDE) for seed, kind in enumerate(kinds)])


@pytest.fixture(scope="module")
def maps(cells: np.ndarray, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return tuned.kept_maps(cells, weights, tmp_path_factory.mktemp("cache"), "some", 0, 1)


def test_untouched_it_gives_the_statistics_of_the_whole_trunk(cells, maps, weights, trunk) -> None:
    with torch.inference_mode():
        whole = trunk.statistics(torch.from_numpy(cells).permute(0, 3, 1, 2) / 255).numpy()
    found = tuned.statistics_of(tuned.Late(weights), maps, np.arange(len(cells)))
    scale = np.abs(whole[:, 80:]).max()  # stage 3 is not tuned
    assert np.abs(found - whole[:, 80:]).max() < 2e-3 * scale  # maps are kept in half precision


def test_a_share_of_a_change_of_weights_and_how_hard_they_are_pulled_back(maps, weights) -> None:
    late, targets = tuned.Late(weights), np.array([0, 1] * 4)
    before = {name: value.clone() for name, value in late.stage.state_dict().items()}

    def distance(pull: float) -> float:
        change = tuned.tuned(late, [maps], targets, np.ones(8), tuned.Trial("cells", 1e-3, 4, pull))
        return float(sum(each.float().square().sum() for each in change.values()) ** 0.5)

    free, pulled, held = distance(0), distance(300), distance(1e9)
    assert 0 == held < pulled < 0.9 * free
    change = tuned.tuned(late, [maps], targets, np.ones(8), tuned.Trial("cells", 1e-3, 4))
    moved = tuned.gone(late, change, 0.25).stage.state_dict()
    for name, value in late.stage.state_dict().items():
        assert torch.equal(value, before[name])  # neither function touches what it was given
        assert torch.allclose(moved[name].float(), before[name] + 0.25 * change[name].float())
    assert all(not value.any() for name, value in change.items() if "bn" in name)  # batch norm is held
