"""A head kept from what other preparations change: the shrinking by hand, whose cells it learns from, and its worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from leukoscope.training.heads import (
    HeadChoice,
    Shaken,
    Steadying,
    balance_weights,
    fit_head,
    head_logits,
    left_out_logits,
)

SIZE = 10


def cells(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two numbers tell the classes, the first better; the first is also what dyes change."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    statistics = rng.normal(size=(count, SIZE)).astype(np.float32)
    statistics[:, 0] += 3 * label
    statistics[:, 1] += 2 * label
    return statistics, label, np.array([f"P{k % 12}" for k in range(count)])


def shaken(count: int, strength: float = 3.0) -> Shaken:
    rng = np.random.default_rng(1)
    apart = np.zeros((count, SIZE), np.float32)
    apart[:, 0] = strength * rng.normal(size=count)
    return Shaken(np.arange(count), {"dyes": apart, "size": np.zeros_like(apart)})


def choice(**changes: object) -> HeadChoice:
    return HeadChoice(components=SIZE - 2, **changes)  # type: ignore[arg-type]


def test_without_weights_nothing_changes() -> None:
    statistics, label, _ = cells()
    assert Steadying().weights() == {}
    assert shaken(240).covariance({}, np.arange(240)) is None
    plain = fit_head(statistics, label, np.ones(240), choice())
    zero = fit_head(statistics, label, np.ones(240), choice(), shaking=np.zeros((SIZE, SIZE)))
    assert head_logits(zero, statistics) == pytest.approx(head_logits(plain, statistics), abs=1e-3)


def test_directions_are_shrunk_by_the_inverse_root_of_one_plus_their_covariance() -> None:
    statistics, label, _ = cells()
    rng = np.random.default_rng(2)
    mixed = rng.normal(size=(SIZE, SIZE))
    shaking = mixed @ mixed.T
    spread = statistics.astype(np.float64).std(axis=0)
    wanted = fractional_matrix_power(np.eye(SIZE) + shaking / np.outer(spread, spread), -0.5)
    whole = HeadChoice(kind="linear", components=SIZE)
    project = fit_head(statistics, label, np.ones(240), whole, shaking=shaking)["project.weight"] * spread
    # Components are a turn: what is left of the projection is the shrinking.
    assert project.T @ project == pytest.approx(wanted @ wanted, abs=1e-4)


def test_a_steadied_head_answers_the_same_where_dyes_change() -> None:
    statistics, label, groups = cells()
    weights = balance_weights(label, groups, "groups")
    moved = statistics.copy()
    moved[:, 0] += 2
    shares = []
    for weight in (0.0, 1.0, 100.0):
        steady = choice(kind="linear", cost=1.0, steady=Steadying(dyes=weight))
        shaking = shaken(240).covariance(steady.steady.weights(), np.arange(240))
        head = fit_head(statistics, label, weights, steady, shaking=shaking)
        before, after = head_logits(head, statistics), head_logits(head, moved)
        shares.append(float(((before > 0) != (after > 0)).mean()))
        assert ((before > 0) == label).mean() > 0.7
    assert shares[0] > 0.1
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.02


def test_only_cells_that_are_learned_from_tell_what_dyes_change() -> None:
    held = shaken(240)
    learned = np.arange(60)
    by_hand = held.apart["dyes"][:60].astype(np.float64)
    found = held.covariance({"dyes": 0.5, "size": 1.0}, learned)
    assert found == pytest.approx(0.5 * by_hand.T @ by_hand / 60)
    rows = np.array([7, 3, 100, 41])
    among = Shaken(np.array([3, 5, 100]), {"dyes": np.array([[1.0], [2.0], [3.0]], np.float32)}).among(rows)
    assert among.rows.tolist() == [1, 2]
    assert among.apart["dyes"][:, 0].tolist() == [1.0, 3.0]


def test_left_out_answers_are_of_heads_steadied_without_the_patient() -> None:
    statistics, label, groups = cells(120)
    steady = choice(kind="linear", steady=Steadying(dyes=100.0), parts=3)
    plain = left_out_logits(statistics, label, groups, choice(kind="linear", parts=3), "groups")
    held = left_out_logits(statistics, label, groups, steady, "groups", shaken=shaken(120))
    assert np.corrcoef(held, statistics[:, 0])[0, 1] < np.corrcoef(plain, statistics[:, 0])[0, 1] - 0.1
    assert ((held > 0) == label).mean() > 0.75
