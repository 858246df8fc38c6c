"""Limits that keep their promise: by hand, by brute force, and by drawing patients again and again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clustered import clustered_scores
from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.errors import DataError
from leukoscope.fitting.band import (
    Limit,
    blasts_needed,
    find_limit,
    groups_needed,
    limit_for_new_patients,
    limit_for_same_patients,
    smallest_level,
)
from leukoscope.fitting.decision import calibrate
from leukoscope.metrics.scores import Scores


@given(
    st.lists(st.lists(st.integers(-5, 5), min_size=1, max_size=6), min_size=1, max_size=8),
    st.sampled_from([0.1, 0.12, 0.2, 0.25, 0.4, 0.5, 0.9]),
)
def test_the_limit_for_new_patients_is_the_largest_by_brute_force(cells: list[list[int]], level: float) -> None:
    logit = np.concatenate([np.array(each, dtype=float) for each in cells])
    group = np.repeat([f"g{k}" for k in range(len(cells))], [len(each) for each in cells])
    found = limit_for_new_patients(logit, group, level)

    def kept(limit: float) -> bool:
        risk = np.mean([np.mean(np.array(each) < limit) for each in cells])
        n = len(cells)
        return n / (n + 1) * risk + 1 / (n + 1) <= level + 1e-12

    if found is None:
        assert not kept(-np.inf)
        return
    assert kept(found)
    assert np.isinf(found) or not kept(np.nextafter(found, np.inf))


def test_the_promise_for_new_patients_holds_over_draws_of_patients() -> None:
    """Patients differ among each other as much as cells within one; the mean over 4,000 studies is the expectation."""
    rng = np.random.default_rng(0)
    studies, cells = 4000, 30
    for groups, level in ((4, 0.3), (9, 0.1), (30, 0.05)):
        patients = rng.normal(1, 1, (studies, groups + 1, 1)) + rng.normal(0, 1, (studies, groups + 1, cells))
        names = np.repeat([str(k) for k in range(groups)], cells)
        limits = np.array([limit_for_new_patients(each[:-1].ravel(), names, level) for each in patients])
        missed = (patients[:, -1] < limits[:, None]).mean(1)
        error = missed.std() / np.sqrt(studies)
        assert missed.mean() <= level + 3 * error
        assert missed.mean() >= level - 1 / (groups + 1) - 3 * error  # and it is not kept by deciding nothing


def test_the_promise_for_the_same_patients_holds_over_draws_of_cells_and_not_for_new_patients() -> None:
    rng = np.random.default_rng(1)
    studies, groups, cells, level = 1500, 4, 100, 0.05
    centre = rng.normal(2, 1, (studies, groups + 1, 1))
    broken_same = broken_new = 0
    for middle in centre:
        known = (middle[:-1] + rng.normal(0, 1, (groups, cells))).ravel()
        limit = limit_for_same_patients(known, level, 0.9)
        assert limit is not None
        broken_same += stats.norm.cdf(limit - middle[:-1, 0]).mean() > level
        broken_new += stats.norm.cdf(limit - middle[-1, 0]) > level
    assert broken_same / studies <= 0.1 + 3 * np.sqrt(0.09 / studies)
    assert broken_new / studies > 0.2  # why it is labelled


@given(st.integers(1, 400), st.floats(0.002, 0.5), st.floats(0.5, 0.999))
def test_the_limit_for_the_same_patients_is_the_bound_of_clopper_and_pearson(n: int, level: float, sure: float) -> None:
    logit = np.arange(n, dtype=float)
    found = limit_for_same_patients(logit, level, sure)
    upper = stats.beta.ppf(sure, np.arange(n) + 1, n - np.arange(n))  # of k among n, k below n
    fit = np.flatnonzero(upper <= level)
    near = np.abs(upper - level).min() < 1e-9
    if not near:
        assert found == (float(fit[-1]) if len(fit) else None)


def test_equal_logits_are_below_together() -> None:
    logit = np.array([0.0] * 3 + [1.0] * 300)
    assert limit_for_same_patients(logit, 0.01, 0.95) == 0.0  # one may be missed, but these are three
    assert limit_for_new_patients(np.array([0.0, 0.0, 1.0]), np.array(["a", "b", "c"]), 0.25) == 0.0


def test_what_it_takes() -> None:
    assert [groups_needed(level) for level in (0.01, 0.02, 0.05, 0.5, 0.9)] == [99, 49, 19, 1, 1]
    for level in (0.01, 0.03, 0.2):
        n = groups_needed(level)
        assert smallest_level(n) <= level + 1e-12 < smallest_level(n - 1)
        b = blasts_needed(level)
        assert (1 - level) ** b <= 0.05 < (1 - level) ** (b - 1)


def groups_of(count: int, cells: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(3, 1, count * cells), np.repeat([f"g{k}" for k in range(count)], cells)


def test_the_strongest_promise_that_can_be_kept_is_taken() -> None:
    many = find_limit(*groups_of(99, 5))
    assert isinstance(many, Limit)
    assert (many.guarantee, many.groups, many.missed) == ("new patients", 99, 0.0)
    few = find_limit(*groups_of(4, 100))
    assert isinstance(few, Limit)
    assert (few.guarantee, few.smallest_level, few.groups_needed) == ("same patients", 0.2, 99)
    none = find_limit(*groups_of(4, 50))
    assert isinstance(none, str)
    assert "99 groups" in none
    assert "299 blasts" in none
    loose = find_limit(*groups_of(4, 50), level=0.25)
    assert isinstance(loose, Limit)
    assert loose.guarantee == "new patients"
    capped = find_limit(*groups_of(4, 100), level=0.5, at_most=-9.0)
    assert isinstance(capped, Limit)
    assert (capped.logit, capped.missed) == (-9.0, 0.0)


def test_cells_of_unknown_patients_promise_nothing_for_new_ones() -> None:
    logit, _ = groups_of(400, 1)
    known = find_limit(logit, np.array([f"p{k}" for k in range(400)]))
    unknown = find_limit(logit, np.array([f"picture:{k}.png" for k in range(400)]))
    assert isinstance(known, Limit)
    assert isinstance(unknown, Limit)
    assert known.guarantee == "new patients"
    assert (unknown.guarantee, unknown.groups, unknown.smallest_level) == ("same patients", 0, 1.0)
    assert unknown.logit == limit_for_same_patients(logit, 0.01, 0.95)
    mixed = find_limit(logit, np.array([*[f"p{k}" for k in range(399)], "picture:x.png"]))
    assert isinstance(mixed, Limit)
    assert (mixed.guarantee, mixed.groups) == ("same patients", 399)
    few = find_limit(logit[:50], np.array([f"picture:{k}.png" for k in range(50)]))
    assert isinstance(few, str)
    assert few.startswith("50 blasts of unknown patients are too few")


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"confidence": 1.0}, {"level": float("nan")}])
def test_levels_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        find_limit(*groups_of(3, 3), **wrong)
    with pytest.raises(DataError, match="needs blasts"):
        find_limit(np.array([]), np.array([], dtype=str))


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
@pytest.mark.parametrize("before", [DecisionFacts(), DecisionFacts(temperature=2)])
def test_calibration_moves_no_cell_over_the_threshold(threshold: float, before: DecisionFacts) -> None:
    scores = clustered_scores(blast_groups=8, normal_groups=8, cells=80, seed=3)
    rule = before.model_copy(update={"threshold": threshold})
    after = calibrate(scores, rule, data="made up", chose_epoch=False, level=0.2, method="temperature")
    old, new = (probability_of(scores.logit, each) >= each.threshold for each in (rule, after))
    assert (old == new).all()
    assert after.refer is not None
    assert after.refer.low <= after.threshold == after.refer.high
    assert after.refer.guarantee == "new patients"
    normal = (scores.label == 1) & (probability_of(scores.logit, after) < after.refer.low)
    share = [normal[scores.group == g].mean() for g in np.unique(scores.group[scores.label == 1])]
    assert after.refer.missed == pytest.approx(np.mean(share))
    assert np.mean(share) * 8 / 9 + 1 / 9 <= 0.2
    assert DecisionFacts.model_validate_json(after.model_dump_json()) == after


def test_the_record_names_what_was_fitted_on_and_why_there_is_no_band() -> None:
    scores: Scores = clustered_scores(blast_groups=3, normal_groups=2, cells=20, seed=1)
    found = calibrate(scores, DecisionFacts(), data="made up", chose_epoch=True, method="temperature")
    assert found.calibrated
    kept = calibrate(scores, DecisionFacts(), data="made up", chose_epoch=True)
    assert kept.calibrated == (kept.calibration.method != "as trained")  # type: ignore[union-attr]
    assert found.calibration is not None
    assert found.calibration.groups == ["b0", "b1", "b2", "n3", "n4"]
    assert (found.calibration.pictures, found.calibration.blasts) == (len(scores), int(scores.label.sum()))
    assert found.refer is None
    assert found.no_refer is not None
    assert "3 patient groups are too few" in found.no_refer
