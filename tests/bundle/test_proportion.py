"""Shares and their intervals against SciPy, against simulation with fields, and at the ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leukoscope.bundle.patients import beta_cdf, beta_quantile, exact_interval, share_of, t_quantile


@given(st.floats(0.05, 500), st.floats(0.05, 500), st.floats(0.001, 0.999))
def test_the_beta_distribution_is_scipys(a: float, b: float, x: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-11)
    assert beta_quantile(x, a, b) == pytest.approx(stats.beta.ppf(x, a, b), abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 9, 800])
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-10)


@settings(max_examples=40)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_without_fields_the_interval_is_the_exact_binomial_one(counts: tuple[int, int]) -> None:
    hits, n = counts
    truth = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert exact_interval(hits, n) == pytest.approx((truth.low, truth.high), abs=1e-9)
    share = share_of([True] * hits + [False] * (n - hits))
    assert (share.low, share.high) == pytest.approx((truth.low, truth.high), abs=1e-9)
    assert share.effective == n
    assert share.fields is None
    assert "fields unknown" in share.method


def test_fields_of_one_mind_count_once_and_fields_of_one_cell_as_cells() -> None:
    called = [True] * 30 + [False] * 30
    alone = share_of(called, [str(i) for i in range(60)])
    assert alone.effective == 60 * 59 / 60  # the variance between 60 cells has 59 degrees of freedom
    alike = share_of(called, [str(i // 6) for i in range(60)])  # ten fields, each all or nothing
    assert alike.effective < 10
    assert alike.low < alone.low < 0.5 < alone.high < alike.high
    unanimous = share_of([True] * 60, [str(i // 6) for i in range(60)])
    assert unanimous.effective == pytest.approx(10)
    assert unanimous.high == 1
    assert unanimous.low == pytest.approx(stats.beta.ppf(0.025, 10, 1))
    assert share_of(called, ["1"] * 60).effective == 1


def test_only_the_clustered_interval_covers_when_cells_of_a_field_are_alike() -> None:
    rng = np.random.default_rng(0)
    covered = {"clustered": 0, "binomial": 0}
    for _ in range(200):
        rate = rng.beta(1.2, 1.2 * 7 / 3, size=40)  # mean 0.3, cells of a field correlated by 0.2
        size = rng.integers(1, 12, size=40)
        called = np.concatenate([rng.random(n) < p for n, p in zip(size, rate, strict=True)])
        field = np.repeat(np.arange(40), size).astype(str)
        for name, share in (("clustered", share_of(called, field)), ("binomial", share_of(called))):
            covered[name] += share.low <= 0.3 <= share.high
    assert covered["clustered"] >= 0.92 * 200
    assert covered["binomial"] <= 0.88 * 200
