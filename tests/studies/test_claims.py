"""The claims of the paper, and the rule that decides about them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from leukoscope.errors import DataError
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.studies.paper.claims import (
    FAILS,
    HOLDS,
    OPEN,
    RIVALS,
    Claim,
    load_claims,
    rule_arithmetic,
    rule_better,
    rule_figure,
    rule_general,
    rule_lighter,
)

NAN = math.nan


def figure(**keys: float) -> Claim:
    return Claim(id="x", text="", place="", kind="figure", figure="accuracy", **keys)  # type: ignore[arg-type]


def test_every_claim_of_the_paper_is_there() -> None:
    claims = load_claims()
    accuracies = {c.claimed for c in claims if c.figure == "accuracy" and "crse_cnn" in c.models}
    assert accuracies == {0.97, 0.92, 1.0}
    ones = {c.figure for c in claims if c.kind == "figure" and c.claimed == 1 and c.figure != "accuracy"}
    assert ones == {"precision_blast", "sensitivity", "f1_blast", "auc"}
    assert {c.figure for c in claims if c.above == 0.9} == ones
    assert {c.claimed for c in claims if c.models == ("densenet201",)} == {0.987, 0.94}
    for kind in ("better", "lighter"):
        assert {c.rival for c in claims if c.kind == kind} == set(RIVALS)
    assert {(c.part, c.claimed) for c in claims if c.kind == "part"} == {("train", 0.928), ("val", 1.0)}
    assert {"generalisation", "real-time", "edge", "decision-support", "all-idb"} <= {c.id for c in claims}


@pytest.mark.parametrize(
    ("keys", "ends", "verdict"),
    [
        ({"claimed": 0.97}, (0.96, 0.94, 0.98), HOLDS),
        ({"claimed": 0.97}, (0.99, 0.98, 1.0), HOLDS),  # better than claimed
        ({"claimed": 0.97}, (0.95, 0.93, 0.965), HOLDS),  # 96.5 % is written as 97 %
        ({"claimed": 0.97}, (0.95, 0.93, 0.9649), FAILS),
        ({"claimed": 0.928}, (0.91, 0.90, 0.926), FAILS),  # 92.8 % is 92.75 % or more
        ({"claimed": 0.928}, (0.91, 0.90, 0.9275), HOLDS),
        ({"claimed": 1.0}, (0.99, 0.98, 0.999), FAILS),
        ({"claimed": 1.0}, (1.0, 1.0, 1.0), HOLDS),
        ({"claimed": 0.97}, (0.97, NAN, NAN), OPEN),
        ({"claimed": 0.97}, (NAN, NAN, NAN), OPEN),
        ({"above": 0.9}, (0.95, 0.91, 0.97), HOLDS),
        ({"above": 0.9}, (0.95, 0.9, 0.97), OPEN),
        ({"above": 0.9}, (0.85, 0.8, 0.9), FAILS),
    ],
)
def test_figures(keys: dict[str, float], ends: tuple[float, float, float], verdict: str) -> None:
    ruling = rule_figure(figure(**keys), Estimate(*ends))
    assert ruling.verdict == verdict
    assert bool(ruling.reason) == (verdict != HOLDS)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.001, 0.1, HOLDS), (-0.1, -0.001, FAILS), (-0.1, 0.1, OPEN), (NAN, NAN, OPEN)]
)
def test_better(low: float, high: float, verdict: str) -> None:
    assert rule_better(Estimate(0.0, low, high)).verdict == verdict


def test_lighter_and_arithmetic() -> None:
    assert rule_lighter(50, 100).verdict == HOLDS
    assert rule_lighter(51, 100).verdict == FAILS
    assert [rule_arithmetic(accuracy).verdict for accuracy in (0.92, 0.97, 1.0)] == [FAILS, FAILS, HOLDS]


@pytest.mark.parametrize(
    ("accuracy", "auc", "verdict"),
    [
        ((0.01, 0.1), (-0.01, 0.01), FAILS),
        ((-0.02, 0.01), (-0.02, 0.019), HOLDS),
        ((-0.02, 0.01), (-0.02, 0.03), OPEN),
        ((NAN, NAN), (-0.02, 0.01), OPEN),
    ],
)
def test_general(accuracy: tuple[float, float], auc: tuple[float, float], verdict: str) -> None:
    falls = {"accuracy": Estimate(0.0, *accuracy), "auc": Estimate(0.0, *auc)}
    assert rule_general(falls).verdict == verdict


@pytest.mark.parametrize(
    "text",
    [
        "claims: 3",
        "- 1",
        "claims: [{id: a, text: t, place: p, kind: figure}]",
        "claims: [{id: a, text: t, place: p, kind: figure, figure: auc, claimed: 0.9, above: 0.9}]",
        "claims: [{id: a, text: t, place: p, kind: none}]",
        "claims: [{id: a, text: t, place: p, kind: none, because: b}, {id: a, text: t, place: p, kind: general}]",
        "claims: [",
    ],
)
def test_bad_claims(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=r"c\.yaml"):
        load_claims(tmp_path / "c.yaml")
