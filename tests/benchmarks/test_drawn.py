"""The ruler that looks are measured with: skewness is the inside's, kinship is what was simulated, drawn is as real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.metrics import roc_auc_score

from drawn import LABELS, TRAIT_NAMES, all_traits, kinship, quantiles, some, traits_of
from leukoscope.cells.frame import frame_cell
from leukoscope.cells.read import read_picture
from leukoscope.datasets.drawing import draw_cell
from leukoscope.datasets.look import BANDS, SHARES
from leukoscope.datasets.readers import read_dataset


def disc(rim: float, seed: int = 0) -> np.ndarray:
    """A disc of fine symmetric grain whose outermost pixels are brighter by ``rim``, in bursts: a bent edge."""
    rng = np.random.default_rng(seed)
    away = np.hypot(*(np.indices((450, 450)) - 224.5))
    level = 100 + rng.normal(0, 6, (450, 450))
    level[away > 98] += rim * (rng.uniform(size=(450, 450)) < 0.1)[away > 98]
    return np.repeat(np.where(away <= 100, np.clip(level, 20, 250), 0).astype(np.uint8)[..., None], 3, axis=2)


def test_a_bent_rim_does_not_bend_the_grain_of_the_inside() -> None:
    """Skewness as SciPy has it for the plain grain, and the same with the rim, whose strength alone is told."""
    plain, rimmed = (traits_of(disc(rim))[0] for rim in (0, 120))
    away = np.hypot(*(np.indices((450, 450)) - 224.5))
    assert skew(disc(0)[away < 90, 0].astype(float)) == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(plain.skews[:3], 0, atol=0.25)
    np.testing.assert_allclose(rimmed.skews[:3], plain.skews[:3], atol=0.25)
    assert (rimmed.energies[0, :3] > plain.energies[0, :3] + 1).all()


def test_kinship_is_what_was_simulated_in_groups_of_any_size() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), rng.integers(1, 40, 60))
    own = rng.standard_normal((60, 50))[groups] * np.sqrt(0.3)
    assert kinship(own + np.sqrt(0.7) * rng.standard_normal(own.shape), groups) == pytest.approx(0.3, abs=0.03)
    assert kinship(rng.standard_normal(own.shape), groups) == pytest.approx(0, abs=0.02)


def test_quantiles_are_those_of_the_sorted_column() -> None:
    rows = np.stack([np.random.default_rng(2).permutation(200), np.arange(200)], axis=1)
    np.testing.assert_allclose(quantiles(rows), np.tile(np.array(SHARES) * 200 - 0.5, (2, 1)))


def test_drawn_cells_have_the_grain_of_real_ones(real_data: Path) -> None:
    """Each band's strength and skewness, alone, tells drawn from real cells no better than this."""
    home = real_data / "cnmc2019" / "C-NMC_Leukemia"
    if not home.is_dir():
        pytest.skip(f"C-NMC 2019 not found at {home}")
    data = some(read_dataset(home).labelled(), 40, 3, others=True)
    for kind, label in LABELS.items():
        paths = np.array(data.paths())[data.labels() == label]
        real, _ = all_traits(frame_cell(read_picture(path).rgb) for path in paths)
        made, _ = all_traits(draw_cell(500 + number, kind) for number in range(40))
        for column in range(TRAIT_NAMES.index("energy 0 in zone 0"), len(TRAIT_NAMES)):
            told = roc_auc_score(np.repeat([0, 1], 40), np.concatenate([real[:, column], made[:, column]]))
            assert 0.13 < told < 0.87, f"{TRAIT_NAMES[column]} of {kind}"
    assert TRAIT_NAMES[-BANDS] == "skew 0"
