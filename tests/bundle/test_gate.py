"""The rule of the gate: limits, distances, and what a bundle may say of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.distance import mahalanobis

from bundle_factory import make_bundle
from leukoscope.bundle.gate import (
    NOT_CHECKED,
    TESTS,
    EmbeddingFacts,
    Finding,
    Gate,
    GateFacts,
    LimitFacts,
    Packed,
    StainFacts,
    embedding_distances,
    excess_of,
    gate_claim,
    judge,
    stain_distances,
)
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.quality import MEASURES
from leukoscope.errors import BundleError

RNG = np.random.default_rng(4)
AXES = np.linalg.qr(RNG.normal(size=(5, 5)))[0]


def limit(reason: str, at: float, middle: float) -> LimitFacts:
    measure, side = TESTS[reason]
    return LimitFacts(reason=reason, measure=measure, side=side, limit=at, middle=middle)


def gaussian() -> EmbeddingFacts:
    return EmbeddingFacts(mean=Packed.of(np.arange(5.0)), axes=Packed.of(AXES[:2]), variances=[4.0, 2.0], rest=0.5)


def facts(**changes: object) -> GateFacts:
    given = {
        "data": "cells", "groups": ["a", "b"], "groups_held_out": ["b"], "pictures": 40, "level": 0.05,
        "turned_down": 0.02, "limits": [limit("too small", 100, 200), limit("foreign look", 9, 2)],
        "stain": StainFacts(mean=[0.0] * 9, whitening=np.eye(9).tolist()), "embedding": gaussian(),
    }  # fmt: skip
    return GateFacts(**{**given, **changes})


def test_embedding_distance_is_mahalanobis_by_scipy() -> None:
    model = gaussian()
    axes = model.axes.array()
    covariance = axes.T @ np.diag([4.0 - 0.5, 2.0 - 0.5]) @ axes + 0.5 * np.eye(5)
    points = RNG.normal(size=(20, 5)) * 3
    expected = [mahalanobis(point, np.arange(5.0), np.linalg.inv(covariance)) for point in points]
    assert embedding_distances(model, points) == pytest.approx(expected, rel=1e-5)


def test_stain_distance_is_mahalanobis_by_scipy() -> None:
    root = np.tril(RNG.normal(size=(9, 9))) + 3 * np.eye(9)
    model = StainFacts(mean=list(range(9)), whitening=np.linalg.inv(root).tolist())
    points = RNG.normal(size=(10, 9)) * 4
    expected = [mahalanobis(point, np.arange(9.0), np.linalg.inv(root @ root.T)) for point in points]
    assert stain_distances(model, points) == pytest.approx(expected)


def test_findings_come_with_value_and_limit_the_worst_first() -> None:
    verdict = Gate(facts()).check({"diameter": 60.0}, np.zeros(9), np.arange(5.0) + 10)
    assert [finding.reason for finding in verdict.findings] == ["foreign look", "too small"]
    assert verdict.findings[1] == Finding("too small", "diameter", 60.0, 100.0)
    assert verdict.score == pytest.approx((verdict.findings[0].value - 2) / 7)
    fine = Gate(facts()).check({"diameter": 150.0}, np.zeros(9), np.arange(5.0))
    assert fine.findings == ()
    assert fine.score == pytest.approx(0.5)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(["too small", "too large"]))
def test_a_value_is_turned_down_exactly_where_it_is_beyond(value: float, reason: str) -> None:
    each = limit(reason, 100 if reason == "too small" else 300, 200)
    outside = value < 100 if reason == "too small" else value > 300
    verdict = judge({"diameter": value}, [each])
    assert bool(verdict.findings) == outside == (verdict.score > 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_never_passes(value: float) -> None:
    verdict = judge({"diameter": value}, [limit("too small", 100, 200)])
    assert verdict.findings == (Finding("too small", "diameter", None, 100.0),)
    assert verdict.score == excess_of(value, limit("too small", 100, 200)) == math.inf


def test_an_embedding_that_is_not_finite_is_turned_down() -> None:
    verdict = Gate(facts()).check({"diameter": 200.0}, np.zeros(9), np.full(5, np.nan))
    assert [(each.reason, each.value) for each in verdict.findings] == [("foreign look", None)]


def test_an_embedding_of_another_size_is_refused_by_name() -> None:
    with pytest.raises(
        BundleError, match=r"fitted on embeddings of 5 numbers, but the graph gives 3.*calibrate --gate"
    ):
        Gate(facts()).check({"diameter": 200.0}, np.zeros(9), np.zeros(3))


def test_every_test_has_a_measure() -> None:
    assert {measure for measure, _ in TESTS.values()} == {*MEASURES, "stain_distance", "embedding_distance"}


def test_facts_survive_the_bundle(tmp_path: Path) -> None:
    written = facts()
    read = read_bundle(make_bundle(tmp_path / "b", gate=written.model_dump(mode="json"))).facts.gate
    assert read == written
    assert read.embedding.axes.array() == pytest.approx(AXES[:2], abs=1e-7)
    assert read_bundle(make_bundle(tmp_path / "old")).facts.gate is None


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("do not have the shape", {"embedding": {"mean": {"shape": [5], "float32": "AAAA"}}}),
        ("do not have the shape", {"embedding": {"mean": {"shape": [1], "float32": "not base64!"}}}),
        ("not finite", {"embedding": {"mean": Packed.of(np.ones(1)).model_dump() | {"float32": "AADAfw=="}}}),
        ("do not fit together", {"embedding": {"variances": [1.0]}}),
        ("greater than 0", {"embedding": {"rest": 0.0}}),
        ("not on the low side", {"limits": [limit("too small", 1, 2).model_dump() | {"limit": 3}]}),
        ("9 x 9", {"stain": {"whitening": [[1.0]]}}),
    ],
)  # fmt: skip
def test_a_damaged_gate_makes_the_bundle_invalid(tmp_path: Path, where: str, change: dict) -> None:
    content = facts().model_dump(mode="json")
    for key, value in change.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    with pytest.raises(BundleError, match="is invalid at gate") as caught:
        read_bundle(make_bundle(tmp_path / "b", gate=content))
    assert where in str(caught.value)


def test_packed_numbers_are_those_of_float32() -> None:
    values = RNG.normal(size=(3, 4)) * 1e3
    packed = Packed.model_validate(json.loads(Packed.of(values).model_dump_json()))
    assert (packed.array() == values.astype(np.float32)).all()
    with pytest.raises(ValidationError):
        Packed(shape=[2, 2], float32=packed.float32)


def test_the_claim_says_what_was_not_checked() -> None:
    assert gate_claim(None) == NOT_CHECKED
    assert "40 pictures of 2 patient groups of cells" in gate_claim(facts())
    assert "set on those of 1 patient group that" in gate_claim(facts())
    assert "no group was held out" in gate_claim(facts(groups_held_out=[]))
    assert "not compared: too small" in gate_claim(facts(embedding=None, no_embedding="too small"))
