"""Every figure against scikit-learn, with and without weights, and what is undefined."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from leukoscope.metrics import calibration, ranking
from leukoscope.metrics import counts as metrics
from leukoscope.metrics.counts import as_weights, ratio

relaxed = settings(deadline=None, max_examples=60)


@st.composite
def tables(draw: st.DrawFn, *, both: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores in [0, 1] with many ties, and integer or real weights, some 0."""
    n = draw(st.integers(2, 40))
    label = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    levels = draw(st.sampled_from([2, 5, 1000]))
    score = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    weight = st.integers(0, 3).map(float) if draw(st.booleans()) else st.floats(0.1, 3)
    weights = np.array(draw(st.lists(weight, min_size=n, max_size=n)))
    if both:
        label[:2] = (0, 1)
        weights[:2] = np.maximum(weights[:2], 1)
    return label, score, weights


def sklearn_decisions(label: np.ndarray, called: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    w = {"sample_weight": weights}
    pr = {"zero_division": np.nan, **w}
    values = {
        "accuracy": sk.accuracy_score(label, called, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(label, called, **w),
        "sensitivity": sk.recall_score(label, called, **pr),
        "specificity": sk.recall_score(label, called, pos_label=0, **pr),
        "precision": sk.precision_score(label, called, **pr),
        "precision_normal": sk.precision_score(label, called, pos_label=0, **pr),
        "f1": sk.f1_score(label, called, **pr),
        "f1_normal": sk.f1_score(label, called, pos_label=0, **pr),
        "f1_macro": sk.f1_score(label, called, average="macro", **pr),
        "f1_weighted": sk.f1_score(label, called, average="weighted", **pr),
    }
    weight = np.ones(len(label)) if weights is None else weights
    if weight[called == 1].sum() and weight[called == 0].sum():
        values["matthews"] = sk.matthews_corrcoef(label, called, **w)
    return values


def our_decisions(label: np.ndarray, called: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    table = metrics.confusion(label, called, weights)
    found = {
        name: getattr(metrics, name)(table)
        for name in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1")
    }
    found |= {name: getattr(metrics, name)(table) for name in ("f1_macro", "f1_weighted", "matthews")}
    found |= {"precision_normal": metrics.precision(table.swapped), "f1_normal": metrics.f1(table.swapped)}
    return {name: float(value) for name, value in found.items()}


@relaxed
@given(tables(), st.booleans())
def test_decisions_agree_with_scikit_learn(table: tuple, weighted: bool) -> None:
    label, score, weights = table
    called = (score >= 0.5).astype(int)
    use = weights if weighted else None
    ours = our_decisions(label, called, use)
    theirs = sklearn_decisions(label, called, use)
    if "matthews" not in theirs:
        assert np.isnan(ours.pop("matthews"))  # scikit-learn says 0 where the decision never varies; it is undefined
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    counts = metrics.confusion(label, called, use)
    reference = sk.confusion_matrix(label, called, labels=[0, 1], sample_weight=use)
    np.testing.assert_allclose([[counts.tn, counts.fp], [counts.fn, counts.tp]], reference)


def test_a_hand_computed_table() -> None:
    label = [1] * 50 + [0] * 50
    called = [1] * 40 + [0] * 10 + [1] * 5 + [0] * 45
    ours = our_decisions(np.array(label), np.array(called), None)
    assert ours["sensitivity"] == 0.8
    assert ours["specificity"] == 0.9
    assert ours["precision"] == pytest.approx(40 / 45)
    assert ours["f1"] == pytest.approx(80 / 95)
    assert ours["matthews"] == pytest.approx((40 * 45 - 5 * 10) / np.sqrt(50 * 50 * 45 * 55))


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_leaves_only_what_it_defines(only: int) -> None:
    ours = our_decisions(np.full(4, only), np.array([0, 1, 1, 1]), None)
    defined = {name for name, value in ours.items() if not np.isnan(value)}
    alone = {"sensitivity", "f1"} if only else {"specificity", "f1_normal"}
    assert defined == {"accuracy", "precision", "precision_normal"} | alone
    sweep = ranking.Ranking.of(np.full(4, only), [0.1, 0.2, 0.2, 0.9]).sweep()
    for figure in (ranking.roc_auc, ranking.average_precision, ranking.sensitivity_at, ranking.specificity_at):
        assert np.isnan(figure(sweep))


def test_no_weight_at_all_defines_nothing() -> None:
    label, score, none = np.array([0, 1]), np.array([0.2, 0.8]), np.zeros(2)
    assert all(np.isnan(value) for value in our_decisions(label, score > 0.5, none).values())
    assert np.isnan(ranking.roc_auc(ranking.Ranking.of(label, score).sweep(none)))
    assert np.isnan(calibration.brier(label, score, none))
    for bins in (calibration.equal_width, calibration.equal_mass):
        assert np.isnan(calibration.calibration_error(bins(label, score, none)))


@relaxed
@given(tables(), st.booleans())
def test_ranking_agrees_with_scikit_learn(table: tuple, weighted: bool) -> None:
    label, score, weights = table
    use = weights if weighted else None
    sweep = ranking.Ranking.of(label, score).sweep(use)
    np.testing.assert_allclose(ranking.roc_auc(sweep), sk.roc_auc_score(label, score, sample_weight=use), rtol=1e-9)
    expected = sk.average_precision_score(label, score, sample_weight=use)
    np.testing.assert_allclose(ranking.average_precision(sweep), expected, rtol=1e-9)


@relaxed
@given(tables())
def test_roc_points_agree_with_scikit_learn(table: tuple) -> None:
    label, score, _ = table
    order = ranking.Ranking.of(label, score)
    sweep = order.sweep()
    fpr, tpr, thresholds = sk.roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(sweep.false_positive_rate, fpr)
    np.testing.assert_allclose(sweep.sensitivity, tpr)
    np.testing.assert_array_equal(order.thresholds, thresholds)
    precision, recall, _ = sk.precision_recall_curve(label, score)
    np.testing.assert_allclose(sweep.precision[1:], precision[:-1][::-1])
    np.testing.assert_allclose(sweep.sensitivity[1:], recall[:-1][::-1])


@relaxed
@given(tables(), st.floats(0.05, 1.0))
def test_operating_points_agree_with_a_search_of_all_thresholds(table: tuple, wanted: float) -> None:
    label, score, weights = table
    sensitivities, specificities = [0.0], [1.0]
    for threshold in np.unique(score):
        called = score >= threshold
        sensitivities.append(weights[called & (label == 1)].sum() / weights[label == 1].sum())
        specificities.append(weights[~called & (label == 0)].sum() / weights[label == 0].sum())
    sens, spec = np.array(sensitivities), np.array(specificities)
    sweep = ranking.Ranking.of(label, score).sweep(weights)
    np.testing.assert_allclose(ranking.sensitivity_at(sweep, wanted), sens[spec >= wanted - 1e-12].max(), atol=1e-9)
    np.testing.assert_allclose(ranking.specificity_at(sweep, wanted), spec[sens >= wanted - 1e-12].max(), atol=1e-9)
    grid = np.array([0.0, 1 - wanted, 1.0])
    expected = [sens[1 - spec <= x + 1e-12].max() for x in grid]
    np.testing.assert_allclose(ranking.roc_on(sweep, grid), expected, atol=1e-9)


def test_twenty_normals_allow_one_false_call_at_95_percent() -> None:
    label = np.array([0] * 20 + [1] * 10)
    score = np.array([0.9] + [0.1] * 19 + [0.95] * 3 + [0.8] * 4 + [0.05] * 3)
    sweep = ranking.Ranking.of(label, score).sweep()
    assert ranking.sensitivity_at(sweep, 0.95) == 0.7  # 1 - 0.95 is a hair below 1/20 in floating point
    assert ranking.specificity_at(sweep, 0.7) == 0.95


@relaxed
@given(tables(), st.booleans())
def test_probability_figures_agree_with_scikit_learn(table: tuple, weighted: bool) -> None:
    label, score, weights = table
    use = weights if weighted else None
    np.testing.assert_allclose(
        calibration.brier(label, score, use), sk.brier_score_loss(label, score, sample_weight=use), rtol=1e-9
    )
    bins = calibration.equal_width(label, score)
    from sklearn.calibration import calibration_curve  # noqa: PLC0415

    observed, stated = calibration_curve(label, score, n_bins=15, strategy="uniform")
    full = bins.weight > 0
    np.testing.assert_allclose(bins.observed[full], observed)
    np.testing.assert_allclose(bins.mean_probability[full], stated)
    error = (bins.weight[full] * np.abs(observed - stated)).sum() / len(label)
    np.testing.assert_allclose(calibration.calibration_error(bins), error, atol=1e-12)


def test_equal_mass_bins_are_equal_slices_of_the_sorted_pictures() -> None:
    rng = np.random.default_rng(1)
    probability, label = rng.random(150), rng.integers(0, 2, 150)
    order = np.argsort(probability)
    slices = np.array_split(order, 15)
    expected = sum(abs(probability[s].mean() - label[s].mean()) * 10 for s in slices) / 150
    bins = calibration.equal_mass(label, probability)
    np.testing.assert_array_equal(bins.weight, np.full(15, 10))
    np.testing.assert_allclose(calibration.calibration_error(bins), expected)


@relaxed
@given(tables(), st.integers(1, 20))
def test_equal_mass_bins_lose_nothing_and_part_no_ties(table: tuple, bins: int) -> None:
    label, score, weights = table
    found = calibration.equal_mass(label, score, weights, bins=bins)
    np.testing.assert_allclose(found.weight.sum(), weights.sum())
    np.testing.assert_allclose(found.probability.sum(), weights @ score)
    np.testing.assert_allclose(found.blasts.sum(), weights @ label)
    assert (found.weight > 0).sum() <= len(np.unique(score))


@relaxed
@given(tables())
def test_a_weight_is_a_repetition_and_a_matrix_is_a_stack(table: tuple) -> None:
    label, score, weights = table
    times = np.ceil(weights).astype(int)
    long_label, long_score = np.repeat(label, times), np.repeat(score, times)
    matrix = np.stack([times, np.ones(len(label))])

    def figures(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> np.ndarray:
        sweep, table_ = ranking.Ranking.of(y, p).sweep(w), metrics.confusion(y, p >= 0.5, w)
        values = [ranking.roc_auc(sweep), ranking.average_precision(sweep), ranking.sensitivity_at(sweep)]
        values += [ranking.specificity_at(sweep), metrics.f1_weighted(table_), metrics.matthews(table_)]
        values += [calibration.brier(y, p, w), calibration.calibration_error(calibration.equal_width(y, p, w))]
        values += [calibration.calibration_error(calibration.equal_mass(y, p, w))]
        return np.stack(values, axis=-1)

    found = figures(label, score, matrix)
    np.testing.assert_allclose(found[0], figures(long_label, long_score, None), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1], figures(label, score, None), rtol=1e-9, atol=1e-12)


@relaxed
@given(tables())
def test_order_is_all_that_auc_sees_and_swapping_classes_mirrors_it(table: tuple) -> None:
    label, score, weights = table
    auc = ranking.roc_auc(ranking.Ranking.of(label, score).sweep(weights))
    assert 0 <= auc <= 1 + 1e-12
    cubed = ranking.roc_auc(ranking.Ranking.of(label, score**3 - 7).sweep(weights))
    mirrored = ranking.roc_auc(ranking.Ranking.of(1 - label, -score).sweep(weights))
    np.testing.assert_allclose([cubed, mirrored], [auc, auc], rtol=1e-9)


def test_bad_weights_and_scores_are_refused() -> None:
    for weights in (np.ones(3), -np.ones(2), np.array([1, np.nan]), np.array([1, np.inf]), 1.0):
        with pytest.raises(ValueError, match="weights"):
            as_weights(weights, 2)
    with pytest.raises(ValueError, match="NaN"):
        ranking.Ranking.of([0, 1], [0.1, np.nan])


def test_quotients_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(ratio(0, 0))
        assert ratio([3.0], 2.0).tolist() == [1.5]
