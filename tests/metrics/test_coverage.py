"""Risk against coverage, and what a band does, against counting one picture at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustered import MakeScores, clustered_scores
from leukoscope.errors import DataError
from leukoscope.metrics.coverage import Descent, Selection, band_figures, sureness
from leukoscope.metrics.evaluation import Evaluation, evaluate
from leukoscope.metrics.glossary import BAND_KEYS
from leukoscope.metrics.provenance import Provenance
from leukoscope.reports.evaluation import write_evaluation

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.9, 1.0]), st.integers(1, 3)),
    min_size=1,
    max_size=25,
)
THRESHOLD = st.sampled_from([0.2, 0.5, 0.7])


@given(ROWS, THRESHOLD)
def test_area_and_curve_are_those_of_counting(rows: list[tuple[int, float, int]], threshold: float) -> None:
    label, probability, times = (np.array(each) for each in zip(*rows, strict=True))
    y, p = np.repeat(label, times), np.repeat(probability, times)  # a weight of 2 is the picture given twice
    wrong = (p >= threshold) != (y == 1)
    sure = sureness(p, threshold)
    risks = [wrong[sure >= each].mean() for each in sure]
    selection = Selection.of(label, probability, threshold)
    assert selection.area(times) == pytest.approx(np.mean(risks))
    coverage, risk = selection.curve(times)
    for level, at, value in zip(sorted(set(sure), reverse=True), coverage, risk, strict=True):
        assert at == pytest.approx((sure >= level).mean())
        assert value == pytest.approx(wrong[sure >= level].mean())
    both = selection.area(np.stack([times, np.ones_like(times)]))
    np.testing.assert_allclose(both, [selection.area(times), selection.area()])


BY_GROUP = Provenance(protocol="group")


def test_the_area_without_ties_is_the_mean_over_all_coverages() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random(500), rng.integers(0, 2, 500)
    order = np.argsort(-np.abs(p - 0.5))
    wrong = ((p >= 0.5) != y)[order]
    expected = np.mean(np.cumsum(wrong) / np.arange(1, 501))
    assert Selection.of(y, p, 0.5).area() == pytest.approx(expected)
    best = Selection.of((p >= 0.5).astype(int), p, 0.5).area()
    assert best == 0


@given(ROWS, THRESHOLD, st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_coverage_at_a_level_is_the_best_band_of_all(
    rows: list[tuple[int, float, int]], threshold: float, level: float
) -> None:
    label, probability, times = (np.array(each) for each in zip(*rows, strict=True))
    y, p = np.repeat(label, times), np.repeat(probability, times)
    found = Descent.of(label, probability, threshold).coverage_at(level, times)
    if not y.any():
        assert np.isnan(found)
        return
    bands = [low for low in (*np.unique(p), threshold) if low <= threshold]
    kept = [
        np.mean((p < low) | (p >= threshold)) for low in bands if np.mean(p[y == 1] < low) <= level + 1e-12
    ]  # fmt: skip
    assert found == pytest.approx(max(kept))


@given(ROWS, THRESHOLD, st.sampled_from([0.0, 0.1, 0.15, 0.2]))
def test_figures_of_a_band_are_those_of_counting(
    rows: list[tuple[int, float, int]], threshold: float, low: float
) -> None:
    label, probability, times = (np.array(each) for each in zip(*rows, strict=True))
    y, p = np.repeat(label, times), np.repeat(probability, times)
    found = dict(zip(BAND_KEYS, band_figures(label, probability, low, threshold, times), strict=True))
    said = ["blast" if each >= threshold else "normal" if each < low else "refer" for each in p]
    cases = list(zip(said, y, strict=True))

    def share(which: list[tuple[str, int]], of: list[tuple[str, int]]) -> float:
        return len(which) / len(of) if of else float("nan")

    decided = [c for c in cases if c[0] != "refer"]
    blasts, normals = [c for c in cases if c[1] == 1], [c for c in cases if c[1] == 0]
    missed, false = cases.count(("normal", 1)) * [("normal", 1)], cases.count(("blast", 0)) * [("blast", 0)]
    expected = {
        "decided": share(decided, cases),
        "missed": share(missed, blasts),
        "missed_decided": share(missed, [c for c in decided if c[1] == 1]),
        "false_blast": share(false, normals),
        "wrong_decided": share(missed + false, decided),
        "normal_decided": share([c for c in cases if c == ("normal", 0)], normals),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, err_msg=key)


def with_band(low: float | None, **more: object) -> Evaluation:
    scores = clustered_scores(blast_groups=6, normal_groups=6, seed=2)
    return evaluate(scores, Provenance(protocol="group", **more), threshold=0.5, refer_from=low, replicates=100)  # type: ignore[arg-type]


def test_an_evaluation_tells_what_the_band_did(make_scores: MakeScores) -> None:
    scores = make_scores(blast_groups=6, normal_groups=6, seed=2)
    found = with_band(0.2)
    assert found.referral is not None
    figures = found.referral.figures
    p, blast = scores.probability, scores.label == 1
    assert figures["decided"].value == pytest.approx(((p < 0.2) | (p >= 0.5)).mean())
    assert figures["missed"].low < figures["missed"].value < figures["missed"].high
    shares = {g: (p[(scores.group == g)] < 0.2).mean() for g in np.unique(scores.group[blast])}
    assert found.referral.worst_group == pytest.approx((max(shares, key=shares.get), max(shares.values())))  # type: ignore[arg-type]
    assert sum(row.referred * row.n for row in found.subjects) == pytest.approx(((p >= 0.2) & (p < 0.5)).sum())
    bare = with_band(None)
    assert bare.referral is None
    assert bare.metrics == found.metrics  # figures of the bare threshold, as if nothing were referred
    assert bare.metrics["aurc"].low <= bare.metrics["aurc"].value <= bare.metrics["aurc"].high
    assert bare.to_json()["referral"] is None
    value = found.to_json()
    assert value["referral"]["figures"]["missed"] == figures["missed"].to_json()
    assert len(value["missed_coverage"]["missed"]) == len(value["risk_coverage"]["risk"]) == 101
    assert value["missed_coverage"]["missed"][-1] == pytest.approx(1 - found.metrics["sensitivity"].value)
    assert value["risk_coverage"]["risk"][-1] == pytest.approx(1 - found.metrics["accuracy"].value)


def test_a_figure_that_rests_on_one_patient_gets_no_interval(make_scores: MakeScores) -> None:
    scores = make_scores(blast_groups=1, normal_groups=6)
    found = evaluate(scores, BY_GROUP, threshold=0.5, refer_from=0.2, replicates=100).referral
    assert found is not None
    assert np.isnan(found.figures["missed"].low)
    assert found.figures["false_blast"].low <= found.figures["false_blast"].high


def test_a_band_beyond_the_threshold_is_refused() -> None:
    for low in (0.6, -0.1):
        with pytest.raises(DataError, match="does not end at the threshold"):
            with_band(low)


def test_the_page_tells_it_too(make_scores: MakeScores, tmp_path) -> None:  # type: ignore[no-untyped-def]
    scores = make_scores(blast_groups=6, normal_groups=6, seed=2)
    page = write_evaluation(with_band(0.2, refer="aims at 1 %"), scores, tmp_path).read_text()
    for words in (
        "When the model refers",
        "aims at 1 %",
        "Missed among decided",
        "The patient group with most blasts",
    ):
        assert words in page
    assert "band in use" in (tmp_path / "coverage.svg").read_text()
    assert "When the model refers" not in write_evaluation(with_band(None), scores, tmp_path).read_text()
