"""Maps from logit to probability against scipy and scikit-learn, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from clustered import clustered_scores
from leukoscope.bundle.decision import decide, logit_at, probability_of, sigmoid
from leukoscope.bundle.schema import DecisionFacts, MapFacts, ReferFacts
from leukoscope.errors import DataError
from leukoscope.fitting.decision import (
    FITS,
    adjacent_violators,
    beta,
    choose_map,
    isotonic,
    log_loss,
    platt,
    temperature,
)
from leukoscope.metrics.scores import Scores


def sample(seed: int, *, scale: float = 2.0, shift: float = 0.0, n: int = 200) -> tuple[np.ndarray, ...]:
    """Logits whose truth follows sigmoid(z / scale + shift), with uneven weights."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.3, 3, n)
    y = (rng.random(n) < sigmoid(z / scale + shift)).astype(float)
    w = rng.random(n) + 0.1
    return z, y, w / w.sum()


def loss(z: np.ndarray, y: np.ndarray, w: np.ndarray, rule: DecisionFacts) -> float:
    return float(w @ log_loss(y, probability_of(z, rule)))


@given(st.integers(0, 10_000), st.floats(0.3, 5))
def test_temperature_is_that_of_scipy(seed: int, scale: float) -> None:
    z, y, w = sample(seed, scale=scale)
    rule = temperature(z, y, w)
    assume(rule is not None)
    found = rule.temperature
    best = minimize_scalar(
        lambda log_t: loss(z, y, w, DecisionFacts(temperature=np.exp(log_t))), bounds=(-5, 5), method="bounded"
    )
    assert loss(z, y, w, DecisionFacts(temperature=found)) <= best.fun + 1e-12
    assert found == pytest.approx(np.exp(best.x), rel=1e-3)


@given(st.integers(0, 10_000), st.floats(-2, 2))
def test_platt_is_an_unpunished_logistic_regression(seed: int, shift: float) -> None:
    z, y, w = sample(seed, shift=shift)
    found = platt(z, y, w)
    theirs = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(
        z[:, None], y, sample_weight=w * len(z)
    )
    assert found is not None
    np.testing.assert_allclose(found.map.parameters, [theirs.coef_[0, 0], theirs.intercept_[0]], rtol=1e-3, atol=1e-4)


@given(st.integers(0, 10_000), st.floats(-2, 2))
def test_no_rising_beta_map_of_scipy_is_better(seed: int, shift: float) -> None:
    z, y, w = sample(seed, shift=shift)
    found = beta(z, y, w)
    assert found is not None

    def theirs(x: np.ndarray) -> float:
        return loss(z, y, w, DecisionFacts(map=MapFacts(method="beta", parameters=x.tolist())))

    best = minimize(theirs, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)])
    assert min(found.map.parameters[:2]) >= 0
    assert loss(z, y, w, found) <= best.fun + 1e-7


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0.125, 4, width=32)), min_size=1, max_size=60),
)
def test_pooled_violators_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    value, weight = np.array(rows).T
    starts, mean = adjacent_violators(value, weight)
    ours = np.repeat(mean, np.diff([*starts, len(value)]))
    theirs = IsotonicRegression().fit_transform(np.arange(len(value)), value, sample_weight=weight)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert (np.diff(mean) > 0).all()


@given(st.integers(0, 10_000))
def test_an_isotonic_map_goes_through_the_middle_of_its_blocks(seed: int) -> None:
    z, y, w = sample(seed, n=60)
    z = np.round(z, 1)  # with ties
    found = isotonic(z, y, w)
    assume(found is not None)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(z, y, sample_weight=w)
    levels = np.unique(np.round(theirs.predict(z), 12))
    at, value = np.array(found.map.knots).T
    np.testing.assert_allclose(value, np.clip(levels, 1 / 62, 61 / 62), atol=1e-9)
    for x, level in zip(at, levels, strict=True):
        block = np.isclose(theirs.predict(z), level)
        assert x == pytest.approx(np.average(z[block], weights=w[block]))


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(0.001, 0.999))
def test_every_map_rises_and_can_be_turned_round(seed: int, shift: float, wanted: float) -> None:
    z, y, w = sample(seed, shift=shift)
    line = np.linspace(-60, 60, 501)
    for name, fit in FITS.items():
        rule = fit(z, y, w)
        assert rule is not None, name
        stated = probability_of(line, rule)
        assert (np.diff(stated) >= 0).all(), name
        assert ((stated >= 0) & (stated <= 1)).all(), name
        at = logit_at(wanted, rule)
        if np.isfinite(at):
            assert probability_of(at, rule) == pytest.approx(wanted, abs=1e-9), name
            assert probability_of(at - 1e-3, rule) < wanted, name


def test_where_no_map_is_best_there_is_none() -> None:
    z, y = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0])
    w = np.full(4, 0.25)
    assert temperature(z, y, w) is None  # all right at 0.5: the colder the better
    assert temperature(z, 1 - y, w) is None  # all wrong: the hotter the better
    assert platt(z, y, w) is None  # the classes are apart: the slope would be infinite
    assert platt(z, 1 - y, w) is None
    assert beta(z, y, w) is None


def answers(z: np.ndarray, y: np.ndarray, group: list[str]) -> Scores:
    paths = tuple(f"{row}.png" for row in range(len(z)))
    return Scores(paths, y, sigmoid(z), z, group, group)  # type: ignore[arg-type]


def of_many_patients(truth: DecisionFacts, *, groups: int = 24, cells: int = 60, seed: int = 0) -> Scores:
    """Answers whose truth follows a map; patients are healthy or ill, so their mix differs."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, groups * cells)
    y = (rng.random(len(z)) < probability_of(z, truth)).astype(int)
    ill = np.arange(groups) % 2 == 0
    unit = np.array([rng.choice(np.flatnonzero(ill == bool(each))) for each in y])
    return answers(z, y, [f"g{each}" for each in unit])


def test_the_simplest_map_that_is_not_clearly_worse_wins() -> None:
    for seed in range(3):
        plain = choose_map(of_many_patients(DecisionFacts(temperature=2), seed=seed))
        assert plain.method == "temperature"
        assert plain.rule.temperature == pytest.approx(2, rel=0.2)
        assert set(plain.log_loss) == {"as trained", *FITS}
    shifted = choose_map(of_many_patients(DecisionFacts(map=MapFacts(method="platt", parameters=[0.6, 1.5]))))
    assert shifted.method == "platt"
    assert shifted.rule.map.parameters == pytest.approx([0.6, 1.5], abs=0.25)
    knots = [(-6, 0.02), (-1, 0.5), (1, 0.52), (6, 0.98)]
    stepped = choose_map(of_many_patients(DecisionFacts(map=MapFacts(method="isotonic", knots=knots)), cells=400))
    assert stepped.method == "isotonic"


def test_right_numbers_stay_as_trained() -> None:
    found = choose_map(of_many_patients(DecisionFacts(), seed=4))
    assert (found.method, found.rule) == ("as trained", DecisionFacts())


def test_a_handful_of_patients_is_not_asked_for_more_than_a_temperature() -> None:
    few = choose_map(clustered_scores(blast_groups=9, normal_groups=12))
    assert set(few.log_loss) == {"as trained", "temperature"}
    assert set(choose_map(clustered_scores(blast_groups=10, normal_groups=12)).log_loss) == {"as trained", *FITS}
    none = choose_map(clustered_scores(blast_groups=5, normal_groups=1))
    assert (none.method, none.log_loss) == ("as trained", {})
    asked = choose_map(clustered_scores(blast_groups=5, normal_groups=1), "beta")
    assert asked.rule.map.method == "beta"


def test_losses_on_left_out_groups_are_those_of_fits_without_them() -> None:
    scores = clustered_scores(blast_groups=3, normal_groups=3)
    found = choose_map(scores).log_loss
    expected = 0.0
    for name in np.unique(scores.group):
        out = scores.group == name
        y, z = scores.label[~out].astype(float), scores.logit[~out]
        mix = np.array([(scores.label == k).sum() / (y == k).sum() for k in (0, 1)])  # the classes keep their shares
        rule = temperature(z, y, mix[scores.label[~out]] / len(scores))
        expected += log_loss(scores.label[out], probability_of(scores.logit[out], rule)).sum() / len(scores)
    assert found["temperature"] == pytest.approx(expected)
    assert found["as trained"] == pytest.approx(log_loss(scores.label, scores.probability).mean())


def test_swapped_labels_and_classes_apart_are_told() -> None:
    scores = clustered_scores(seed=2)
    swapped = answers(scores.logit, 1 - scores.label, scores.group.tolist())
    with pytest.raises(DataError, match="rank below normal cells"):
        choose_map(swapped)
    apart = answers(5.0 * (2 * scores.label - 1), scores.label, scores.group.tolist())
    with pytest.raises(DataError, match="no map of the kind 'temperature' fits"):
        choose_map(apart, "temperature")
    assert choose_map(apart).method == "as trained"


@pytest.mark.parametrize(
    ("scores", "what"),
    [
        (clustered_scores(blast_groups=2, normal_groups=2).take(np.arange(19)), "19 pictures.* too small"),
        (clustered_scores(blast_groups=0), "holds no blast"),
        (clustered_scores(normal_groups=0), "holds no normal cell"),
        (clustered_scores(blast_groups=0, normal_groups=0, mixed_groups=1), "one patient group"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused_with_a_remedy(scores: Scores, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        choose_map(scores)
    assert caught.value.remedy


def test_decisions_at_the_ends_of_the_band() -> None:
    band = ReferFacts(
        low=0.2, high=0.5, level=0.01, guarantee="same patients", confidence=0.95, groups=3, blasts=400, missed=0,
        smallest_level=0.25, groups_needed=99,
    )  # fmt: skip
    rule = DecisionFacts(refer=band)
    assert [decide(p, rule)[0] for p in (0.0, 0.1999, 0.2, 0.4999, 0.5, 1.0)] == [
        "normal", "normal", "refer", "refer", "blast", "blast"
    ]  # fmt: skip
    assert decide(0.41, rule)[1] == "probability 0.410 lies in the band 0.200 to 0.500"
    assert decide(0.41, DecisionFacts()) == ("normal", None)
    for wrong in ({"low": 0.6}, {"high": 0.7}):
        with pytest.raises(ValueError, match="end at the threshold"):
            DecisionFacts(refer=band.model_copy(update=wrong).model_dump())


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "platt", "parameters": [1]},
        {"method": "beta", "parameters": [1, 2, 3], "knots": [(0, 0.5)]},
        {"method": "isotonic"},
        {"method": "isotonic", "knots": [(0, 0.5), (1, 0.4)]},
        {"method": "isotonic", "knots": [(0, 0.5), (0, 0.6)]},
        {"method": "platt", "parameters": [float("nan"), 0]},
    ],
)
def test_a_map_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MapFacts.model_validate(wrong)
