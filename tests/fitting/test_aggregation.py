"""The rule for subjects: its rates against simulation, its promises against new patients, its errors by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.bundle.patients import Proportion, corrected_share, exact_interval, share_of, state, subject_rule
from leukoscope.bundle.schema import BundleFacts, DecisionFacts, RateFacts, SubjectFacts
from leukoscope.errors import DataError
from leukoscope.fitting.patients import (
    PatientCounts,
    fit_deciding,
    fit_rates,
    fit_subjects,
    left_out,
    limits,
    patients_of,
    subject_errors,
)
from leukoscope.metrics.scores import Scores

WORDS = {"data": "made", "protocol": "by hand", "logit": 0.0}


def people(ill: list[tuple[int, int]], healthy: list[tuple[int, int]], part: list[int] | None = None) -> PatientCounts:
    """Groups of (called, cells)."""
    rows = [*ill, *healthy]
    return PatientCounts(
        np.array([f"{'P' if i < len(ill) else 'H'}{i}" for i in range(len(rows))]),
        np.arange(len(rows)) < len(ill),
        np.array([cells for _, cells in rows]),
        np.array([called for called, _ in rows]),
        np.array(part or [0] * len(rows)),
    )


def drawn(rng: np.random.Generator, mean: float, correlation: float, groups: int) -> tuple[np.ndarray, np.ndarray]:
    size = (1 - correlation) / correlation
    cells = rng.integers(20, 300, size=groups)
    return cells, rng.binomial(cells, rng.beta(mean * size, (1 - mean) * size, size=groups))


def rule(mean: float = 0.9, false: float = 0.2, correlation: float = 0.05, **more: object) -> SubjectFacts:
    rates = {"correlation": correlation, "groups": 20, "cells": 1000}
    given = {
        "groups_blast": ["1"], "groups_normal": ["H1"], "min_cells": 20, "alarm_level": 0.2, "missed_level": 0.1,
        "sensitivity": RateFacts(mean=mean, **rates), "false_alarm": RateFacts(mean=false, **rates),
        "likely_from": 0.6, "unlikely_below": 0.2,
    } | WORDS | more  # fmt: skip
    return SubjectFacts.model_validate(given)


def test_rates_are_found_again() -> None:
    rng = np.random.default_rng(1)
    for mean, correlation in ((0.9, 0.05), (0.4, 0.35), (0.5, 0.001)):
        found = fit_rates(*drawn(rng, mean, correlation, 2000))
        assert found.mean == pytest.approx(mean, abs=0.02)
        assert found.correlation == pytest.approx(correlation, abs=max(0.02, 0.1 * correlation))
    perfect = fit_rates(np.array([50, 60]), np.array([50, 60]))
    assert perfect.mean == 1 - 1 / 6  # two patients do not show that none is ever missed


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.lists(st.floats(0, 1), min_size=2, max_size=40),
       st.floats(0.05, 0.5), st.floats(0.05, 0.5))  # fmt: skip
def test_limits_are_the_furthest_that_keep_their_level(
    ill: list[float], healthy: list[float], alarm: float, missed: float
) -> None:
    share = np.array([*ill, *healthy])
    blast = np.arange(len(share)) < len(ill)
    likely, unlikely = limits(share, blast, alarm_level=alarm, missed_level=missed)
    wrong = sum(s >= likely for s in healthy) if likely is not None else 0
    if likely is None:  # even the least that could be stated is too much
        assert (1 + sum(s >= 1 for s in healthy)) / (len(healthy) + 1) > alarm - 1e-9
    else:
        assert (wrong + 1) / (len(healthy) + 1) <= alarm + 1e-9
        if likely > 0:
            assert (sum(s >= np.nextafter(likely, -1) for s in healthy) + 1) / (len(healthy) + 1) > alarm - 1e-9
    if unlikely is None:
        assert 1 / (len(ill) + 1) > missed - 1e-9
    else:
        assert (sum(s < unlikely for s in ill) + 1) / (len(ill) + 1) <= missed + 1e-9
        assert likely is None or unlikely <= likely


def test_the_promises_hold_for_the_next_patient() -> None:
    rng = np.random.default_rng(2)
    alarmed = missed = 0
    for _ in range(600):
        cells, called = drawn(rng, 0.85, 0.1, 12)
        healthy, false = drawn(rng, 0.4, 0.3, 10)
        share = np.concatenate([called[:-1] / cells[:-1], false[:-1] / healthy[:-1]])
        likely, unlikely = limits(share, np.arange(20) < 11, alarm_level=0.2, missed_level=0.1)
        alarmed += likely is not None and false[-1] / healthy[-1] >= likely
        missed += unlikely is not None and called[-1] / cells[-1] < unlikely
    assert alarmed / 600 <= 0.2 + 2 * math.sqrt(0.2 * 0.8 / 600)
    assert missed / 600 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 600)


@settings(max_examples=30)
@given(st.integers(20, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_statement_and_corrected_share_do_not_contradict_each_other(counts: tuple[int, int]) -> None:
    fitted = fit_subjects(
        people([(45, 50), (100, 100), (70, 90), (30, 40)], [(10, 100), (25, 50), (0, 30), (60, 80)]),
        **WORDS, alarm_level=0.5, missed_level=0.5,
    )  # fmt: skip
    called, cells = counts
    told, _ = state(fitted, called / cells, cells)
    corrected = corrected_share(fitted, share_of([True] * called + [False] * (cells - called)))
    assert corrected.low <= corrected.value <= corrected.high
    assert told != "blasts not seen" or corrected.value == 0
    assert told != "blasts likely" or corrected.value > 0


def test_the_correction_is_rogan_and_gladens_and_its_interval_covers() -> None:
    sure = rule(correlation=0.0001)
    many = corrected_share(sure, Proportion(0.55, 0.5, 0.6, 100_000, None, 100_000.0))
    assert many.value == pytest.approx((0.55 - 0.2) / (0.9 - 0.2))
    assert many.high - many.low < 0.05
    rng = np.random.default_rng(3)
    spread = rule(correlation=0.1)
    inside = 0
    for _ in range(100):
        truth, hit, false = rng.random(), rng.beta(0.9 * 9, 0.1 * 9), rng.beta(0.2 * 9, 0.8 * 9)
        called = rng.binomial(80, truth * hit + (1 - truth) * false)
        got = corrected_share(spread, share_of(np.arange(80) < called))
        inside += got.low <= truth <= got.high
    assert inside >= 0.91 * 100


def test_statements_and_their_reasons() -> None:
    assert state(rule(), 0.9, 19) == ("too few cells", "19 of at least 20 cells")
    assert state(rule(), 0.6, 20)[0] == "blasts likely"
    assert state(rule(), 0.199, 20)[0] == "blasts not seen"
    assert state(rule(), 0.2, 20)[0] == "refer"
    never = rule(likely_from=None, unlikely_below=None)
    told, why = state(never, 1.0, 500)
    assert told == "refer"
    assert "no share is enough" in why
    with pytest.raises(ValueError, match="both"):
        rule(likely_from=0.3, unlikely_below=0.5)


def test_a_rule_for_another_threshold_does_not_hold() -> None:
    facts = BundleFacts.model_validate(
        {"name": "m", "version": "0", "created": "2026-01-01", "preparation": {}, "input_size": 8, "files": {}}
    )
    assert "no rule" in str(subject_rule(facts))
    assert subject_rule(facts.model_copy(update={"subjects": rule()})) == rule()
    moved = facts.model_copy(update={"subjects": rule(), "decision": DecisionFacts(threshold=0.6)})
    assert "moved" in str(subject_rule(moved))
    warmer = moved.model_copy(update={"decision": DecisionFacts(threshold=0.5, temperature=3)})
    assert subject_rule(warmer) == rule()  # calibration does not move a cell to the other side


def scores(group: list[str], label: list[int], logit: list[float]) -> Scores:
    n = len(group)
    return Scores(tuple(f"{group[i]}/{i}" for i in range(n)), label, [0.5] * n, logit, [""] * n, group)  # type: ignore[arg-type]


def test_patients_are_counted_and_bad_tables_refused() -> None:
    first = scores(["2", "2", "10"], [1, 1, 1], [0.0, -1.0, 2.0])
    second = scores(["H1", "H1"], [0, 0], [-3.0, 3.0])
    found = patients_of([first, second], 0.0)
    assert found.name.tolist() == ["2", "10", "H1"]
    assert (found.called / found.cells).tolist() == [0.5, 1.0, 0.5]
    assert found.part.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="tested twice"):
        patients_of([first, first], 0.0)
    with pytest.raises(DataError, match="both classes"):
        patients_of([scores(["2", "2"], [0, 1], [0, 0])], 0.0)
    with pytest.raises(DataError, match="1 patient groups without blasts"):
        fit_subjects(people([(20, 20), (30, 30)], [(1, 30), (1, 19)]), **WORDS)
    with pytest.raises(DataError, match="between 0 and 1"):
        fit_subjects(people([(20, 20), (30, 30)], [(1, 30), (1, 29)]), **WORDS, alarm_level=1.0)


def test_errors_are_those_of_rules_fitted_without_the_patient() -> None:
    held = people(
        [(29, 30), (28, 30), (40, 50), (9, 30), (60, 60)], [(3, 30), (27, 30), (5, 40), (15, 30), (2, 19)],
        part=[0, 0, 1, 1, 1, 0, 0, 1, 1, 1],
    )  # fmt: skip
    options = {"alarm_level": 0.5, "missed_level": 0.5}
    fitted = fit_subjects(held, **WORDS, **options)
    told = dict(left_out(held, fitted))
    assert len(told) == 9  # the subject of 19 cells is not judged
    for k, name in enumerate(held.name[:9].tolist()):
        rest = held.take(held.name != name)
        assert told[name] == state(fit_subjects(rest, **WORDS, **options), held.share[k], int(held.cells[k]))[0]
    errors = subject_errors(held, fitted, replicates=200)
    alarmed = [told[name] == "blasts likely" for name in held.name[5:9].tolist()]
    missed = [told[name] == "blasts not seen" for name in held.name[:5].tolist()]
    assert errors.alarmed.value == np.mean(alarmed)
    assert errors.missed.value == np.mean(missed)
    assert (errors.missed.low, errors.missed.high) == exact_interval(sum(missed), 5)
    pairs = [(a > b) + (a == b) / 2 for a in held.share[:5] for b in held.share[5:9]]
    assert errors.auc.value == pytest.approx(np.mean(pairs))
    other = subject_errors(held, fitted, whole_parts=True, replicates=200)
    assert other.protocol != errors.protocol


def test_the_lowest_level_that_decides_enough() -> None:
    """Two of nine healthy people look ill: one wrong of ten refers nearly all, two wrong decide nearly all."""
    ill = [(90 + k, 100) for k in range(9)]
    healthy = [(99, 100), (97, 100), *((10 + k, 100) for k in range(7))]
    held = people(ill, healthy)
    strict = fit_subjects(held, **WORDS, alarm_level=0.1)
    assert strict.likely_from is not None
    assert strict.likely_from > 0.99
    found = fit_deciding(held, 0.6, **WORDS)
    assert found.alarm_level == pytest.approx(0.3)
    assert fit_deciding(held, 0.2, **WORDS).alarm_level < found.alarm_level
    told = dict(left_out(held, found))
    assert np.mean([each != "refer" for each in told.values()]) >= 0.6
    with pytest.raises(DataError, match="no rule decides 100 %"):
        fit_deciding(people(ill, [(95, 100)] * 9), 0.9999, **WORDS)


def test_errors_include_the_choice_of_the_level() -> None:
    held = people([(90 + k, 100) for k in range(9)], [(99, 100), (97, 100), *((10 + k, 100) for k in range(7))])
    rule_ = fit_deciding(held, 0.6, **WORDS)
    for name, statement in left_out(held, rule_, decided=0.6):
        rest = held.take(held.name != name)
        k = held.name.tolist().index(name)
        try:
            other = fit_deciding(rest, 0.6, **WORDS)
        except DataError:
            other = fit_subjects(rest, **WORDS, alarm_level=rule_.alarm_level)
        assert statement == state(other, float(held.share[k]), int(held.cells[k]))[0]
