"""A whole evaluation: that each part says what the answers say, and what it says when there is too little to say."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn import metrics as sk

from clustered import MakeScores
from leukoscope.errors import DataError
from leukoscope.metrics.bootstrap import Resampling
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.glossary import KEYS
from leukoscope.metrics.panel import GRID, compare, subject_rows, worst_subject
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores

from .test_intervals import brute_force_figures, brute_force_rows

BY_GROUP = Provenance(protocol="group")


def rows_of(*rows: tuple[int, float, str, str]) -> Scores:
    """A table from (label, probability, subject, group)."""
    label, probability, subject, group = zip(*rows, strict=True)
    logit = np.array(probability) - 0.5
    paths = tuple(f"{number}.png" for number in range(len(rows)))
    return Scores(paths, label, probability, logit, subject, group)  # type: ignore[arg-type]


def test_figures_intervals_and_counts(make_scores: MakeScores) -> None:
    scores = make_scores(mixed_groups=3, seed=8)
    found = evaluate(scores, BY_GROUP, threshold=0.5, replicates=100, seed=5)
    assert tuple(found.metrics) == KEYS
    expected = brute_force_figures(scores, np.arange(len(scores)))
    drawn = [brute_force_figures(scores, rows) for rows in brute_force_rows(scores, 100, 5)]
    for key, value in expected.items():
        assert found.metrics[key].value == pytest.approx(value, abs=1e-12)
        ends = np.quantile([each[key] for each in drawn], [0.025, 0.975])
        np.testing.assert_allclose([found.metrics[key].low, found.metrics[key].high], ends, rtol=1e-9)
    called = scores.probability >= 0.5
    tn, fp, fn, tp = sk.confusion_matrix(scores.label, called).ravel()
    assert found.confusion == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    assert found.counts == {
        "pictures": len(scores),
        "blasts": int(scores.label.sum()),
        "normals": int((1 - scores.label).sum()),
        "subjects": 15,
        "groups": 15,
        "blast_only_groups": 7,
        "normal_only_groups": 5,
        "mixed_groups": 3,
    }
    assert "subject_auc" not in found.naive
    assert found.reliability.bins.weight.sum() == len(scores)


def test_curves_end_where_they_must_and_lie_within_their_band(make_scores: MakeScores) -> None:
    scores = make_scores(seed=9)
    found = evaluate(scores, BY_GROUP, threshold=0.5, replicates=200)
    np.testing.assert_allclose(sk.auc(found.roc.x, found.roc.y), found.metrics["auc"].value)
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert len(found.roc.on_grid) == len(GRID)
    assert found.roc.on_grid[-1] == found.roc.low[-1] == found.roc.high[-1] == 1
    inside = (found.roc.low <= found.roc.on_grid) & (found.roc.on_grid <= found.roc.high)
    assert inside.mean() > 0.9


def test_the_threshold_moves_decisions_and_nothing_else(make_scores: MakeScores) -> None:
    scores = make_scores()
    low, high = (evaluate(scores, BY_GROUP, threshold=t, replicates=100) for t in (0.3, 0.7))
    assert low.metrics["sensitivity"].value > high.metrics["sensitivity"].value
    assert low.metrics["auc"] == high.metrics["auc"]
    assert low.metrics["brier"] == high.metrics["brier"]


def test_a_probability_on_the_threshold_is_a_blast() -> None:
    scores = rows_of((1, 0.5, "a", "a"), (1, 0.6, "b", "b"), (0, 0.4, "c", "c"), (0, 0.5, "d", "d"))
    found = evaluate(scores, BY_GROUP, threshold=0.5, replicates=100)
    assert found.confusion == {"tn": 1, "fp": 1, "fn": 0, "tp": 2}


def test_subjects_by_hand() -> None:
    scores = rows_of(
        (1, 0.9, "a", "g"),
        (1, 0.3, "a", "g"),
        (0, 0.2, "b", "g"),
        (0, 0.8, "", "h"),
        (1, 0.6, "", "h"),
        (1, 0.6, "10", "i"),
    )
    rows = {row.subject: row for row in subject_rows(scores, 0.5)}
    assert [*rows] == ["10", "a", "b", "h"]  # a picture without a subject goes by the name of its group
    assert dataclasses.astuple(rows["a"]) == (
        "a", "g", 2, 2, pytest.approx(0.6), 0.5, 0.5, pytest.approx(0.25), 0.0
    )  # fmt: skip
    assert rows["a"].gap == pytest.approx(-0.4)
    assert rows["b"].gap == pytest.approx(0.2)
    referred = {row.subject: row.referred for row in subject_rows(scores, 0.5, 0.3)}
    assert (referred["a"], referred["b"], referred["h"]) == (0.5, 0.0, 0.0)  # 0.3 is in, 0.2 is out, 0.6 is decided
    assert (rows["b"].label, rows["h"].label, rows["10"].label) == ("normal", "mixed", "blast")
    assert (rows["h"].called_blast, rows["h"].accuracy) == (1.0, 0.5)


def test_the_weakest_subject_needs_enough_cells() -> None:
    wrong = [(1, 0.1, "few", "few")] * 19
    half = [(1, 0.1 + 0.8 * (k % 2), "half", "half") for k in range(20)]
    larger = [(0, 0.1 + 0.8 * (k % 2), "larger", "larger") for k in range(22)]
    rows = subject_rows(rows_of(*wrong, *half, *larger), 0.5)
    worst = worst_subject(rows)
    assert worst is not None
    assert (worst.subject, worst.accuracy) == ("larger", 0.5)
    assert [row.n for row in rows] == [19, 20, 22]
    assert worst_subject(rows[:1]) is None


def test_one_normal_group_gives_no_interval_of_specificity_and_says_so(make_scores: MakeScores) -> None:
    found = evaluate(make_scores(normal_groups=1, blast_groups=12), BY_GROUP, threshold=0.5, replicates=100)
    assert not np.isnan(found.metrics["specificity"].value)
    assert np.isnan([found.metrics["specificity"].low, found.metrics["specificity"].high]).all()
    assert found.metrics["sensitivity"].low < found.metrics["sensitivity"].high
    assert "1 normal-only group: its variability is not in the interval." in found.notes


def test_one_group_of_each_kind_gives_no_interval_at_all(make_scores: MakeScores) -> None:
    found = evaluate(make_scores(normal_groups=1, blast_groups=1), BY_GROUP, threshold=0.5, replicates=100)
    assert all(np.isnan([each.low, each.high]).all() for each in found.metrics.values())
    assert np.isnan(found.roc.low).all()
    assert any("no interval is given" in note for note in found.notes)


def test_one_class_alone_is_measured_as_far_as_it_goes(make_scores: MakeScores) -> None:
    scores = make_scores()
    found = evaluate(scores.take(scores.label == 0), Provenance(protocol="healthy only"), threshold=0.5, replicates=100)
    for key in ("auc", "sensitivity", "balanced_accuracy", "f1_weighted", "subject_auc"):
        assert np.isnan(found.metrics[key].value)
    assert found.metrics["specificity"].low < found.metrics["specificity"].high
    assert any(note.startswith("Undefined on these pictures: AUC") for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)


def test_perfect_answers_are_not_called_certain() -> None:
    rows = [(k % 2, 0.9 * (k % 2), f"s{k}", f"s{k}") for k in range(40)]
    found = evaluate(rows_of(*rows), BY_GROUP, threshold=0.5, replicates=100)
    assert (found.metrics["auc"].low, found.metrics["auc"].high) == (1, 1)
    assert any(note.startswith("Every replicate gives AUC 1.000; ") for note in found.notes)


def test_to_json_is_json_with_the_context(make_scores: MakeScores) -> None:
    made = Provenance(protocol="group", data="made up \udce9", fold=np.int64(2), audit_pages={"a": "a.html"})
    found = evaluate(make_scores(), made, threshold=0.4, replicates=100, seed=3)
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["context"] == {
        "data": "made up ?", "fold": 2, "shortened": None, "refer": None, "protocol": "group",
        "audit_pages": {"a": "a.html"},
    }  # fmt: skip
    assert value["interval"] == {"level": 0.95, "unit": "patient group", "replicates": 100, "seed": 3}
    assert value["metrics"]["auc"] == found.metrics["auc"].to_json()
    assert len(value["subjects"]) == 12
    assert value["roc"]["sensitivity"] == found.roc.on_grid.tolist()
    assert value["precision_recall"]["precision"][0] is None  # nothing is called yet at recall 0
    assert value["precision_recall"]["precision"][1] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"replicates": 99}, "replicates"),
    ],
)
def test_bad_arguments_are_refused(make_scores: MakeScores, changes: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(make_scores(), BY_GROUP, **{"threshold": 0.5, **changes})  # type: ignore[arg-type]


def better(scores: Scores, by: float, seed: int = 1) -> Scores:
    """The same pictures with answers a little nearer to the truth."""
    z = scores.logit + by * (2 * scores.label - 1) + np.random.default_rng(seed).normal(0, 0.1, len(scores))
    return Scores(scores.path, scores.label, 1 / (1 + np.exp(-z)), z, scores.subject, scores.group)


def test_differences_agree_with_copied_rows(make_scores: MakeScores) -> None:
    first = make_scores(mixed_groups=2)
    second = better(first, 0.5)
    rows = {row.key: row for row in compare(first, second, thresholds=(0.5, 0.5), replicates=40, seed=7)}
    index = brute_force_rows(first, 40, 7)
    drawn = [(brute_force_figures(first, rows_), brute_force_figures(second, rows_)) for rows_ in index]
    for key in ("auc", "sensitivity", "f1_weighted", "brier"):
        ends = np.quantile([two[key] - one[key] for one, two in drawn], [0.025, 0.975])
        np.testing.assert_allclose([rows[key].difference.low, rows[key].difference.high], ends, rtol=1e-9)
        assert rows[key].difference.value == pytest.approx(rows[key].second - rows[key].first)
    assert rows["auc"].better == rows["brier"].better == "second"


def test_pairing_sees_what_two_intervals_cannot(make_scores: MakeScores) -> None:
    first = make_scores(blast_groups=12, normal_groups=12)
    second = better(first, 0.25)
    rows = {row.key: row for row in compare(first, second, thresholds=(0.5, 0.5), replicates=200)}
    alone = [evaluate(each, BY_GROUP, threshold=0.5, replicates=200).metrics["auc"] for each in (first, second)]
    assert alone[1].low < alone[0].high  # the two intervals overlap
    assert rows["auc"].better == "second"


def test_the_order_of_the_second_table_does_not_matter(make_scores: MakeScores) -> None:
    first = make_scores()
    second = better(first, 0.3)
    shuffled = second.take(np.random.default_rng(0).permutation(len(second)))
    wanted = compare(first, second, thresholds=(0.5, 0.4), replicates=50)
    assert repr(compare(first, shuffled, thresholds=(0.5, 0.4), replicates=50)) == repr(wanted)
    same = compare(first, first, thresholds=(0.5, 0.5), replicates=50)
    assert all(row.better is None for row in same)
    assert all(row.difference.value == 0 for row in same)


def test_tables_of_other_pictures_are_refused(make_scores: MakeScores) -> None:
    first = make_scores()
    with pytest.raises(DataError, match="is in one table only"):
        compare(first, first.take(np.arange(5)), thresholds=(0.5, 0.5))
    with pytest.raises(DataError, match="is in one table only"):
        compare(first.take(np.arange(5)), first, thresholds=(0.5, 0.5))
    flipped = dataclasses.replace(first, label=1 - first.label)
    with pytest.raises(DataError, match="another label"):
        compare(first, flipped, thresholds=(0.5, 0.5))
    with pytest.raises(DataError, match="another group"):
        compare(first, dataclasses.replace(first, group=first.path, subject=first.path), thresholds=(0.5, 0.5))


def test_by_picture_is_each_picture_its_own_patient(make_scores: MakeScores) -> None:
    scores = make_scores()
    plan = Resampling.by_picture(scores.label, replicates=3)
    weights = next(plan.blocks())
    np.testing.assert_array_equal(weights @ scores.label, np.full(3, scores.label.sum()))
    np.testing.assert_array_equal(weights.sum(axis=1), np.full(3, len(scores)))
