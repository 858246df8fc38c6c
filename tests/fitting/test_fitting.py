"""The temperature against scipy, and whether it is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from clustered import clustered_scores
from leukoscope.bundle.decision import decide, logit_at, probability_of, sigmoid
from leukoscope.bundle.schema import DecisionFacts, ReferFacts
from leukoscope.errors import DataError
from leukoscope.fitting.decision import (
    choose_temperature,
    log_loss,
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


@settings(max_examples=30)
@given(st.floats(0.05, 20), st.floats(0.001, 0.999))
def test_a_probability_can_be_turned_round(warmth: float, wanted: float) -> None:
    rule = DecisionFacts(temperature=warmth)
    assert probability_of(logit_at(wanted, rule), rule) == pytest.approx(wanted, abs=1e-12)
    assert probability_of(logit_at(wanted, rule) - 1e-3 * warmth, rule) < wanted


def test_where_no_temperature_is_best_there_is_none() -> None:
    z, y = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0])
    w = np.full(4, 0.25)
    assert temperature(z, y, w) is None  # all right at 0.5: the colder the better
    assert temperature(z, 1 - y, w) is None  # all wrong: the hotter the better


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


def test_a_temperature_that_is_clearly_better_is_taken() -> None:
    for seed in range(3):
        warm = choose_temperature(of_many_patients(DecisionFacts(temperature=2), seed=seed))
        assert warm.method == "temperature"
        assert warm.rule.temperature == pytest.approx(2, rel=0.2)
        assert set(warm.log_loss) == {"as trained", "temperature"}


def test_right_numbers_stay_as_trained() -> None:
    found = choose_temperature(of_many_patients(DecisionFacts(), seed=4))
    assert (found.method, found.rule) == ("as trained", DecisionFacts())


def test_one_healthy_person_is_no_comparison() -> None:
    none = choose_temperature(clustered_scores(blast_groups=5, normal_groups=1))
    assert (none.method, none.log_loss) == ("as trained", {})
    asked = choose_temperature(clustered_scores(blast_groups=5, normal_groups=1), "temperature")
    assert asked.rule.temperature != 1


def test_losses_on_left_out_groups_are_those_of_fits_without_them() -> None:
    scores = clustered_scores(blast_groups=3, normal_groups=3)
    found = choose_temperature(scores).log_loss
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
        choose_temperature(swapped)
    apart = answers(5.0 * (2 * scores.label - 1), scores.label, scores.group.tolist())
    with pytest.raises(DataError, match="no temperature fits"):
        choose_temperature(apart, "temperature")
    assert choose_temperature(apart).method == "as trained"


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
        choose_temperature(scores)
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


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_a_map_that_is_no_longer_read_says_what_to_do(method: str) -> None:
    with pytest.raises(ValueError, match="calibrate again"):
        DecisionFacts.model_validate({"map": {"method": method, "parameters": [1.0, 0.0]}})
