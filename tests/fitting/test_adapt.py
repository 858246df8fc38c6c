"""Refitting a head: the optimum against scikit-learn, nothing leaks into what is reported, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from leukoscope.bundle.decision import calibration_claim, probability_of, refer_claim, sigmoid
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.errors import DataError
from leukoscope.fitting.decision import log_loss
from leukoscope.fitting.head import choose_pull, refit
from leukoscope.fitting.laboratory import LocalCells, changed_logits, check_cells, deal, fit_laboratory
from leukoscope.metrics.scores import Scores


def cells(
    n: int = 80, *, patients: int = 8, shift: float = 0.0, signal: float = 2.0, seed: int = 0, by_patient: bool = True
) -> LocalCells:
    """Cells of patients of one class each; the old logit sees the first feature, moved by ``shift``."""
    rng = np.random.default_rng(seed)
    whose = np.arange(n) % patients
    label = (whose % 2).astype(np.int64)
    embedding = rng.normal(size=(n, 12)) + rng.normal(size=(patients, 12))[whose] * 0.3
    embedding[:, 0] += (2 * label - 1) * signal / 2
    embedding[:, 1] += (2 * label - 1) * signal / 2
    logit = 1.5 * embedding[:, 0] + shift
    group = [f"P{k}" if by_patient else f"picture:{i}" for i, k in enumerate(whose)]
    scores = Scores(tuple(f"{i}.png" for i in range(n)), label, sigmoid(logit), logit, [""] * n, group)  # type: ignore[arg-type]
    return LocalCells(scores, embedding)


def test_the_fit_is_scikit_learns_where_there_is_no_old_head() -> None:
    held = cells(60, signal=1.0)
    label = held.scores.label
    spread = float(((held.embedding - held.embedding.mean(axis=0)) ** 2).mean())
    for strength in (1.0, 0.05):
        found = refit(np.zeros(60), held.embedding, label, strength)
        reference = LogisticRegression(C=1 / (60 * strength * spread), tol=1e-10, max_iter=10_000)
        reference.fit(held.embedding, label)
        assert found.weight == pytest.approx(reference.coef_[0], abs=2e-5)
        assert found.bias == pytest.approx(reference.intercept_[0], abs=2e-5)


def test_the_pull_is_towards_the_old_head() -> None:
    held = cells(200, patients=20, shift=3.0)
    old, label = held.scores.logit, held.scores.label
    only_bias = refit(old, held.embedding, label, math.inf)
    assert np.array_equal(only_bias.weight, np.zeros(12))
    assert sigmoid(only_bias.logits(old, held.embedding)).mean() == pytest.approx(label.mean(), abs=1e-9)
    size = [np.linalg.norm(refit(old, held.embedding, label, s).weight) for s in (100.0, 1.0, 0.01)]
    assert size[0] < 0.02 < size[1] < size[2]
    few = cells(20, patients=4, seed=5)  # fewer cells than features, and classes that can be told apart
    assert np.isfinite(refit(few.scores.logit, few.embedding, few.scores.label, 0.001).weight).all()


def test_crossed_logits_are_of_heads_that_did_not_see_the_cell() -> None:
    held = cells(60, patients=6)
    part = deal(held)
    old, embedding, label = held.scores.logit, held.embedding, held.scores.label
    pull, logits, loss = choose_pull(lambda _rest: (old, embedding), label, part)
    for left in np.unique(part):
        out = part == left
        change = refit(pull.trust * old[~out], embedding[~out], label[~out], pull.strength)
        assert logits[out] == pytest.approx(change.logits(pull.trust * old[out], embedding[out]), abs=1e-5)
        assert loss[left] == pytest.approx(log_loss(label[out], sigmoid(logits[out])).sum())


def test_a_shifted_laboratory_gains_and_the_reported_loss_is_met_on_new_cells() -> None:
    held, new = cells(160, patients=16, shift=4.0), cells(400, patients=20, shift=4.0, seed=9)
    rule = DecisionFacts()
    found = fit_laboratory(held, rule, data="site", replicates=200)
    assert found.better
    assert found.gain["log_loss"].low > 0
    assert found.gain["specificity"].value > 0.3
    assert found.after["auc"].value > found.before["auc"].value
    assert len(found.units) == 16
    logits = changed_logits(new, found.change, None)
    met = log_loss(new.scores.label, probability_of(logits, found.rule)).mean()
    assert met == pytest.approx(found.after["log_loss"].value, abs=0.12)
    before = log_loss(held.scores.label, sigmoid(held.scores.logit)).mean()
    assert found.before["log_loss"].value == pytest.approx(before)


def test_nothing_is_gained_from_labels_of_no_meaning() -> None:
    better = 0
    for seed in range(3):
        held = cells(60, patients=12, signal=0.0, seed=seed)
        old = np.where(held.scores.label == 1, 1.0, -1.0) + np.random.default_rng(seed).normal(size=60)
        table = Scores(
            held.scores.path, held.scores.label, sigmoid(2 * old), 2 * old, held.scores.subject, held.scores.group
        )
        rng = np.random.default_rng(seed)
        found = fit_laboratory(LocalCells(table, rng.normal(size=(60, 12))), DecisionFacts(), data="x", replicates=200)
        better += found.better
        assert found.gain["log_loss"].value < 0.1
    assert better <= 1


def test_cells_without_patients_are_left_out_in_ten_parts() -> None:
    held = cells(100, by_patient=False, shift=3.0)
    part = deal(held)
    assert sorted(np.bincount(part)) == [10] * 10
    assert all(held.scores.label[part == k].mean() == 0.5 for k in range(10))
    found = fit_laboratory(held, DecisionFacts(), data="x", replicates=200)
    assert found.units == [f"part {k}" for k in range(10)]
    assert "fitted on 100 pictures of unknown patients of x" in calibration_claim(found.rule)


def test_a_band_set_on_cells_without_patients_promises_nothing_for_new_ones() -> None:
    for by_patient in (True, False):
        held = cells(800, patients=400, by_patient=by_patient)
        found = fit_laboratory(held, DecisionFacts(), data="x", replicates=200)
        claim = refer_claim(found.rule)
        assert ("On average over new patients" in claim) is by_patient
        assert ("nothing is promised: that takes 99 patients with blasts" in claim) is not by_patient


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (slice(0, 19), "19 cells are too few"),
        ([i for i in range(80) if i % 2 == 0] + [1, 3], "one-sided: 2 blasts"),
        ([i for i in range(80) if i % 8 in {0, 2, 4, 1}], "come from one patient"),
    ],
)
def test_refusals(chosen: slice | list[int], words: str) -> None:
    held = cells(80)
    which = np.zeros(80, bool)
    which[chosen] = True
    with pytest.raises(DataError, match=words):
        check_cells(held.take(which))


def test_less_wrong_than_before_but_worse_than_a_guess_is_no_gain() -> None:
    held = cells(60, patients=12, signal=0.0, seed=4)
    wrong = 6.0 + np.random.default_rng(0).normal(scale=3.0, size=60)
    same = held.scores
    table = Scores(same.path, same.label, sigmoid(wrong), wrong, same.subject, same.group)
    noise = np.random.default_rng(1).normal(size=(60, 12))
    found = fit_laboratory(LocalCells(table, noise), DecisionFacts(), data="x", replicates=200)
    assert found.gain["log_loss"].value > 0
    assert found.after["log_loss"].value > math.log(2)
    assert not found.better
