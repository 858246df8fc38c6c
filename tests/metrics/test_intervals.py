"""The bootstrap against one that really copies rows, and whether its intervals hold what they promise."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn import metrics as sk

from clustered import MakeScores
from leukoscope.metrics import calibration
from leukoscope.metrics import counts as metrics
from leukoscope.metrics.bootstrap import Estimate, Resampling, band, estimates
from leukoscope.metrics.glossary import KEYS
from leukoscope.metrics.panel import GRID, Panel, measure
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores


def brute_force_rows(scores: Scores, replicates: int, seed: int) -> list[np.ndarray]:
    """Row numbers of each replicate, group by group, drawn as the documentation of ``Resampling`` says."""
    kinds: list[list[str]] = [[], [], []]
    for name in sorted(set(scores.group.tolist())):
        classes = set(scores.label[scores.group == name].tolist())
        kinds[0 if classes == {1} else 1 if classes == {0} else 2].append(name)
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(replicates):
        parts = []
        for kind in kinds:
            if kind:
                parts += [np.flatnonzero(scores.group == kind[k]) for k in rng.integers(len(kind), size=len(kind))]
        result.append(np.concatenate(parts))
    return result


def brute_force_figures(scores: Scores, rows: np.ndarray) -> dict[str, float]:
    y, p, z = scores.label[rows], scores.probability[rows], scores.logit[rows]
    called = (p >= 0.5).astype(int)
    return {
        "auc": sk.roc_auc_score(y, z),
        "average_precision": sk.average_precision_score(y, z),
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "sensitivity": sk.recall_score(y, called),
        "specificity": sk.recall_score(y, called, pos_label=0),
        "precision_blast": sk.precision_score(y, called),
        "f1_weighted": sk.f1_score(y, called, average="weighted"),
        "f1_macro": sk.f1_score(y, called, average="macro"),
        "matthews": sk.matthews_corrcoef(y, called),
        "brier": sk.brier_score_loss(y, p),
        "ece": float(calibration.calibration_error(calibration.equal_width(y, p))),
        "ece_adaptive": float(calibration.calibration_error(calibration.equal_mass(y, p))),
    }


@pytest.mark.parametrize("mixed", [0, 4])
def test_the_same_numbers_as_copying_rows(make_scores: MakeScores, mixed: int) -> None:
    scores = make_scores(mixed_groups=mixed, seed=3)
    plan = Resampling.by_group(scores.label, scores.group, replicates=60, seed=11)
    ours = plan.apply(Panel.of(scores, 0.5).figures)
    theirs = [brute_force_figures(scores, rows) for rows in brute_force_rows(scores, 60, 11)]
    for key in theirs[0]:
        expected = [each[key] for each in theirs]
        np.testing.assert_allclose(ours[:, KEYS.index(key)], expected, rtol=1e-9, atol=1e-12, err_msg=key)
        ends = estimates(ours[0], ours)[KEYS.index(key)]
        np.testing.assert_allclose([ends.low, ends.high], np.quantile(expected, [0.025, 0.975]), rtol=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.floats(-3, 3)), min_size=2, max_size=25),
    st.integers(0, 5),
    st.sampled_from([0.5, 0.9, 0.95]),
)
@settings(max_examples=40, deadline=None)
def test_an_interval_of_a_mean_is_that_of_copied_rows(
    rows: list[tuple[int, int, float]], seed: int, level: float
) -> None:
    """Any pictures in any patient groups, groups of one class and of both, down to one group alone."""
    group, label, value = (np.array(column) for column in zip(*rows, strict=True))
    names = np.array([f"p{number}" for number in group])
    scores = SimpleNamespace(label=label, group=names)
    expected = [value[chosen].mean() for chosen in brute_force_rows(scores, 30, seed)]  # type: ignore[arg-type]
    plan = Resampling.by_group(label, names, replicates=30, seed=seed)
    found = plan.apply(lambda weights: (weights @ value / weights.sum(axis=-1))[..., None])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9, atol=1e-12)
    (each,) = estimates([value.mean()], found, level=level)
    ends = np.quantile(expected, [(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose([each.low, each.high], ends, rtol=1e-9, atol=1e-12)


def test_the_auc_of_subjects_is_that_of_copied_subjects(make_scores: MakeScores) -> None:
    scores = make_scores(seed=5)
    plan = Resampling.by_group(scores.label, scores.group, replicates=40, seed=2)
    ours = plan.apply(Panel.of(scores, 0.5).figures)[:, KEYS.index("subject_auc")]
    for value, rows in zip(ours, brute_force_rows(scores, 40, 2), strict=True):
        names, counts = np.unique(scores.group[rows], return_counts=True)
        times = [count // (scores.group == name).sum() for name, count in zip(names, counts, strict=True)]
        truth = [scores.label[scores.group == name].max() for name in names]
        mean = [scores.probability[scores.group == name].mean() for name in names]
        np.testing.assert_allclose(value, sk.roc_auc_score(np.repeat(truth, times), np.repeat(mean, times)))


def test_curves_on_the_grid_are_those_of_copied_rows(make_scores: MakeScores) -> None:
    scores = make_scores(seed=6)
    plan = Resampling.by_group(scores.label, scores.group, replicates=10, seed=4)
    ours = plan.apply(Panel.of(scores, 0.5).everything)[:, len(KEYS) :]
    for value, rows in zip(ours, brute_force_rows(scores, 10, 4), strict=True):
        fpr, tpr, _ = sk.roc_curve(scores.label[rows], scores.logit[rows], drop_intermediate=False)
        expected = [tpr[fpr <= x + 1e-12].max() for x in GRID]
        np.testing.assert_allclose(value[: len(GRID)], expected)
        precision, recall, _ = sk.precision_recall_curve(scores.label[rows], scores.logit[rows])
        steps = [precision[np.flatnonzero(recall >= x - 1e-12)[-1]] for x in GRID[1:]]
        np.testing.assert_allclose(value[len(GRID) + 1 : 2 * len(GRID)], steps)


def test_the_size_of_the_blocks_changes_nothing(make_scores: MakeScores, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = make_scores()
    plan = Resampling.by_group(scores.label, scores.group, replicates=23, seed=1)
    whole = np.concatenate(list(plan.blocks()))
    monkeypatch.setattr("leukoscope.metrics.bootstrap._BLOCK", 5 * len(scores))
    blocks = list(plan.blocks())
    assert [len(block) for block in blocks] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_each_replicate_keeps_the_number_of_groups_of_each_kind(make_scores: MakeScores) -> None:
    scores = make_scores(blast_groups=1, normal_groups=3, mixed_groups=2)
    plan = Resampling.by_group(scores.label, scores.group, replicates=200, seed=0)
    assert plan.sizes == {"blast-only": 1, "normal-only": 3, "mixed": 2}
    first = np.array([np.flatnonzero(scores.group == name)[0] for name in np.unique(scores.group)])
    times = plan.apply(lambda weights: weights[:, first])
    kinds = np.array([name[0] for name in np.unique(scores.group)])
    for kind, size in (("b", 1), ("n", 3), ("m", 2)):
        np.testing.assert_array_equal(times[:, kinds == kind].sum(axis=1), np.full(200, size))
    assert plan.notes == (
        "1 blast-only group: its variability is not in the interval.",
        "3 normal-only groups: with so few the interval is likely too narrow.",
        "2 mixed groups: with so few the interval is likely too narrow.",
    )


def test_pictures_of_unknown_patients_are_told() -> None:
    label = np.arange(40) % 2
    known = Resampling.by_group(label, np.array([f"p{k}" for k in range(40)]))
    assert (known.lone, known.notes) == (0, ())
    some = Resampling.by_group(label, np.array([f"{'picture:' if k < 30 else ''}{k}.png" for k in range(40)]))
    assert some.lone == 30
    assert some.notes[0].startswith("30 pictures are of unknown patients, and each counts as a patient")
    assert Resampling.by_picture(label).notes == ()


def test_the_seed_decides(make_scores: MakeScores) -> None:
    scores = make_scores()
    draws = [
        next(Resampling.by_group(scores.label, scores.group, replicates=5, seed=seed).blocks()) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_undefined_replicates_are_left_out_or_undo_the_interval() -> None:
    drawn = np.column_stack([np.linspace(0, 1, 101)] * 2)
    drawn[:3, 0] = np.nan
    drawn[:6, 1] = np.nan
    few, many = estimates([0.5, 0.5], drawn)
    assert few.undefined == 3
    np.testing.assert_allclose([few.low, few.high], np.quantile(np.linspace(0.03, 1, 98), [0.025, 0.975]))
    assert many.undefined == 6
    assert np.isnan([many.low, many.high]).all()
    assert many.to_json() == {"value": 0.5, "low": None, "high": None}
    assert np.isnan(estimates([np.nan], drawn[:, :1])[0].low)
    assert Estimate(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75}


def test_an_estimate_is_read_as_it_was_written() -> None:
    kept = TypeAdapter(Estimate)
    for each in (Estimate(0.5, 0.25, 0.75, 3), Estimate(1, undefined=2), Estimate(np.nan)):
        written = kept.dump_json(each)
        assert b"undefined" not in written
        assert json.loads(written) == each.to_json()
        again = kept.validate_json(written)
        assert again == Estimate(each.value, each.low, each.high)
        assert again.has_interval == (each.to_json()["low"] is not None)
    with pytest.raises(ValidationError):
        kept.validate_json('{"value": 0.5, "lowest": 0.1}')


@pytest.mark.parametrize(
    ("strata", "with_ends"),
    [
        ((1, 1, 0), set()),
        ((2, 1, 0), {"sensitivity", "missed", "auc"}),
        ((1, 3, 0), {"specificity", "normal_decided", "auc"}),
        ((1, 1, 1), set()),  # two groups with blasts, but of different kinds: each is in every replicate once
        ((1, 1, 2), {"sensitivity", "missed", "specificity", "normal_decided", "auc"}),
    ],
)
def test_no_interval_where_all_replicates_agree(strata: tuple[int, int, int], with_ends: set[str]) -> None:
    """``strata``: groups with blasts only, with normal cells only, with both; each has two cells."""
    kinds = [label for label, count in zip(((1, 1), (0, 0), (0, 1)), strata, strict=True) for _ in range(count)]
    label, group = np.array(kinds).ravel(), np.repeat(np.arange(len(kinds)), 2)
    plan = Resampling.by_group(label, group, replicates=200)
    keys = ("sensitivity", "missed", "specificity", "normal_decided", "auc")
    shown = np.random.default_rng(0).random((len(label), 2))

    def figures(weights: np.ndarray) -> np.ndarray:
        parts = [weights * (label == of_class) for of_class in (1, 0)]
        means = [(part @ shown) / part.sum(axis=-1)[..., None] for part in parts]
        return np.concatenate([*means, (means[0] - means[1])[..., :1]], axis=-1)

    found = measure(figures, keys, plan)
    assert {key for key, each in found.items() if each.has_interval} == with_ends
    drawn = plan.apply(figures)
    assert {key for key, column in zip(keys, drawn.T, strict=True) if np.ptp(column) > 0} == with_ends
    np.testing.assert_array_equal([each.value for each in found.values()], figures(np.ones(len(label))))


def test_a_band_is_undefined_where_a_replicate_is() -> None:
    low, high = band(np.array([[0.0, np.nan], [1.0, 0.5]]))
    np.testing.assert_allclose([low[0], high[0]], [0.025, 0.975])
    assert np.isnan([low[1], high[1]]).all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Groups of 40 pictures with their own error rates: 95 % intervals over groups hold, those over pictures do not.

    Each group's chance of a right call is beta distributed with mean 0.8; sensitivity is the mean over 30 blast groups,
    specificity over 30 normal groups. With 300 trials the standard error of a coverage of 0.95 is 0.013. The naive
    intervals are 2.7 times too narrow, so about half of them hold; 60 trials are enough to see that.
    """
    rng = np.random.default_rng(20)
    groups, cells = 30, 40
    unit = np.repeat(np.arange(2 * groups), cells)
    label = (unit < groups).astype(int)
    trials = {"groups": 300, "pictures": 60}
    inside = dict.fromkeys(trials, 0)
    for trial in range(trials["groups"]):
        right = rng.random(len(unit)) < rng.beta(4, 1, 2 * groups)[unit]
        called = np.where(right, label, 1 - label)

        def statistic(weights: np.ndarray, called: np.ndarray = called) -> np.ndarray:
            return metrics.balanced_accuracy(metrics.confusion(label, called, weights))[..., None]

        plans = {"groups": Resampling.by_group(label, unit, replicates=200, seed=trial)}
        if trial < trials["pictures"]:
            plans["pictures"] = Resampling.by_picture(label, replicates=200, seed=trial)
        for name, plan in plans.items():
            found = estimates(statistic(np.ones(len(unit))), plan.apply(statistic))[0]
            inside[name] += found.low <= 0.8 <= found.high
    assert 0.90 <= inside["groups"] / trials["groups"] <= 0.98
    assert inside["pictures"] / trials["pictures"] < 0.75


def test_the_naive_interval_of_auc_is_narrower(make_scores: MakeScores) -> None:
    scores = make_scores(blast_groups=15, normal_groups=15)
    order = Ranking.of(scores.label, scores.logit)

    def auc(weights: np.ndarray) -> np.ndarray:
        return roc_auc(order.sweep(weights))[..., None]

    value = auc(np.ones(len(scores)))
    honest = estimates(value, Resampling.by_group(scores.label, scores.group, replicates=400).apply(auc))[0]
    naive = estimates(value, Resampling.by_picture(scores.label, replicates=400).apply(auc))[0]
    assert (honest.high - honest.low) > 2 * (naive.high - naive.low)
