"""Fitting a gate against scikit-learn and SciPy, and what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from leukoscope.bundle.gate import TESTS, embedding_distances, stain_distances
from leukoscope.cells.quality import MEASURES
from leukoscope.errors import DataError
from leukoscope.fitting import gate as gaussians
from leukoscope.fitting.folds import even_folds
from leukoscope.fitting.gate import (
    LEAST,
    GateCells,
    beyond,
    fit_embedding,
    fit_gate,
    fit_stain,
    limit_at,
    tightest,
    turned_down,
)


def made(count: int = 400, groups: int = 8, size: int = 12, seed: int = 0, **changes: np.ndarray) -> GateCells:
    """Cells whose measurements are normal, each group about its own middle; the last two groups are held out."""
    rng = np.random.default_rng(seed)
    unit = np.arange(count) % groups
    given = {
        "values": rng.normal(100, 20, (count, len(MEASURES))) + rng.normal(0, 5, (groups, len(MEASURES)))[unit],
        "stain": rng.normal(0, 1, (count, 9)),
        "embedding": rng.normal(0, 1, (count, size)) * np.linspace(5, 0.1, size),
        "group": np.array([f"g{each}" for each in unit]),
        "held_out": unit >= groups - 2,
    }
    return GateCells(**{**given, **changes})


def test_the_stain_is_measured_by_mahalanobis_distance_with_a_shrunk_covariance() -> None:
    values = np.random.default_rng(1).normal(3, 2, (400, 9)) @ np.diag(np.linspace(1, 4, 9))
    spread = values.std(axis=0)
    inverse = np.linalg.inv(ledoit_wolf(values / spread)[0] + 1e-3 * np.eye(9))
    middle = values.mean(axis=0) / spread
    expected = [mahalanobis(row / spread, middle, inverse) for row in values[:20]]
    assert stain_distances(fit_stain(values), values[:20]) == pytest.approx(expected)


def test_embedding_distance_is_that_of_scikit_learns_probabilistic_pca() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(600, 50)) @ rng.normal(size=(50, 50))
    fit = fit_embedding(values)
    reference = PCA(n_components=gaussians.AXES, svd_solver="full").fit(values)
    precision = reference.get_precision()
    others = rng.normal(size=(30, 50)) * 20
    expected = [mahalanobis(each, reference.mean_, precision) for each in others]
    assert embedding_distances(fit, others) == pytest.approx(expected, rel=1e-4)


def test_stain_distance_is_mahalanobis_with_ledoit_and_wolfs_covariance() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(500, 9)) @ rng.normal(size=(9, 9)) + 5
    covariance = ledoit_wolf(values / values.std(axis=0))[0] * np.outer(values.std(axis=0), values.std(axis=0))
    covariance += 1e-3 * np.diag(values.var(axis=0))
    others = rng.normal(size=(20, 9)) * 10
    expected = [mahalanobis(each, values.mean(axis=0), np.linalg.inv(covariance)) for each in others]
    assert stain_distances(fit_stain(values), others) == pytest.approx(expected)


def test_few_cells_or_numbers_give_fewer_axes_or_none() -> None:
    rng = np.random.default_rng(5)
    assert fit_embedding(rng.normal(size=(40, 60))).axes.shape == [40 // gaussians.CELLS_PER_AXIS, 60]
    assert fit_embedding(rng.normal(size=(400, 3))).axes.shape == [2, 3]
    assert "too small" in fit_embedding(rng.normal(size=(400, 1)))
    assert "the same for all" in fit_embedding(np.ones((400, 5)))
    flat = np.zeros((400, 5))
    flat[:, 0] = rng.normal(size=400)  # four numbers that never vary
    assert np.isfinite(embedding_distances(fit_embedding(flat), flat)).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.01, 0.3), st.booleans())
def test_no_more_are_turned_down_than_aimed_at(seed: int, aimed: float, worst: bool) -> None:
    cells = made(seed=seed)
    measured = {name: cells.values[:, k] for k, name in enumerate(MEASURES)}
    reasons = [reason for reason, (measure, _) in TESTS.items() if measure in measured]
    limits = tightest(measured, reasons, cells.group, np.zeros(len(cells), int), aimed, worst=worst)
    flags = np.zeros(len(cells), bool)
    for each in limits:
        values = measured[each.measure]
        flags |= (values < each.limit) if each.side == "low" else (values > each.limit)
        assert abs(each.limit - each.middle) >= LEAST[each.measure] - 1e-9
    shares = [flags[cells.group == name].mean() for name in np.unique(cells.group)]
    assert max(flags.mean(), max(shares) if worst else np.mean(shares)) <= aimed
    assert turned_down(flags, cells.group, worst=worst) <= aimed


def test_limits_counted_on_groups_left_out_are_wider_where_groups_differ() -> None:
    """Brute force: at the tail that was chosen, limits fitted without a group turn down no more than aimed of it."""
    rng = np.random.default_rng(8)
    unit = np.arange(1000) % 10
    values = rng.normal(0, 5, 10)[unit] * 3 + rng.normal(100, 10, 1000)
    group = np.array([f"g{each}" for each in unit])
    measured, reasons, aimed = {"brightness": values}, ["too dark", "too bright"], 0.05
    alone = tightest(measured, reasons, group, np.zeros(1000, int), aimed)
    crossed = tightest(measured, reasons, group, even_folds(group), aimed)
    assert crossed[0].limit < alone[0].limit
    assert crossed[1].limit > alone[1].limit
    tail = np.mean(values < crossed[0].limit)
    out = [
        (part < np.quantile(rest, tail)) | (part > np.quantile(rest, 1 - tail))
        for left in range(5)
        for part, rest in [(values[even_folds(group) == left], values[even_folds(group) != left])]
    ]
    assert np.mean(np.concatenate(out)) <= aimed + 0.01


def test_limits_are_quantiles_and_cells_alike_leave_room() -> None:
    values = np.random.default_rng(6).normal(100, 30, 1000)
    assert limit_at("too small", values, 0.1).limit == pytest.approx(np.quantile(values, 0.1))
    assert limit_at("too large", values, 0.1).limit == pytest.approx(np.quantile(values, 0.9))
    assert limit_at("clipped", np.zeros(50), 0.1).limit == LEAST["clipped"]
    assert not beyond(values, limit_at("too large", values, 0.0)).any()


def test_the_embedding_limit_holds_for_the_worst_group_held_out() -> None:
    cells = made(count=2000)
    gate = fit_gate(cells, data="made")
    (limit,) = (each for each in gate.limits if each.reason == "foreign look")
    reference = PCA(n_components=11, svd_solver="full").fit(cells.embedding[~cells.held_out])
    precision = reference.get_precision()
    for name in gate.groups_held_out:
        held = cells.embedding[cells.group == name]
        far = [mahalanobis(each, reference.mean_, precision) > limit.limit for each in held]
        assert np.mean(far) <= 0.4 * 0.5 * 0.05
    assert gate.groups_held_out == ["g6", "g7"]
    assert gate.turned_down <= 0.05
    assert (gate.pictures, gate.data, len(gate.groups)) == (2000, "made", 8)


def test_without_a_held_out_group_each_is_measured_by_a_fit_without_it() -> None:
    cells = made(count=400)
    for held_out in (np.zeros(400, bool), np.ones(400, bool)):
        gate = fit_gate(made(held_out=held_out), data="made")
        assert gate.embedding is not None
        assert gate.embedding.mean.array() == pytest.approx(cells.embedding.mean(axis=0), abs=1e-5)
        assert any(each.reason == "foreign look" for each in gate.limits)


def test_a_group_is_never_in_twoeven_folds() -> None:
    group = made(count=300, groups=7).group
    fold = even_folds(group)
    assert all(len(np.unique(fold[group == name])) == 1 for name in np.unique(group))
    assert len(np.unique(fold)) == 5
    assert len(np.unique(even_folds(group[np.isin(group, ["g1", "g2"])]))) == 2


def test_a_network_without_embedding_still_gets_the_other_tests() -> None:
    gate = fit_gate(made(embedding=np.ones((400, 4))), data="made")
    assert gate.embedding is None
    assert "the same for all" in gate.no_embedding
    assert len(gate.limits) == len(TESTS) - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 19}, r"19\) are too few"),
        ({"groups": 1}, "come from one patient group"),
        ({"embedding": np.where(np.arange(400)[:, None] == 7, np.nan, np.ones((400, 3)))}, "embedding of 1 of 400"),
        ({"values": np.full((400, len(MEASURES)), np.inf)}, "values of 400 of 400"),
    ],
)
def test_what_nothing_can_be_fitted_on_is_refused(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(**change)


def test_a_level_that_is_no_share_is_refused() -> None:
    with pytest.raises(DataError, match="not between 0 and 1"):
        fit_gate(made(), data="made", level=1.0)
