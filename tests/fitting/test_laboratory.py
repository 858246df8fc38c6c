"""The steps of an adaptation: moments, what is chosen on cells left out, mixtures of laboratories, the gate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from leukoscope.bundle.decision import sigmoid
from leukoscope.bundle.gate import GateFacts, LimitFacts, StainFacts
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.cells.quality import MEASURES
from leukoscope.fitting.gate import GateCells, choose_gate, fit_embedding, fit_gate, flagged
from leukoscope.fitting.head import BIAS_ALONE, PULLS, Pull, refit, refits
from leukoscope.fitting.laboratory import Home, LocalCells, changed_logits, fit_laboratory
from leukoscope.fitting.mixture import apart, mixture_warning
from leukoscope.fitting.moments import Moments
from leukoscope.metrics.scores import Scores


def bend(embedding: np.ndarray) -> np.ndarray:
    """A head that no linear change can repair once its input has moved: it knows the middle of the first number."""
    return np.asarray(4 * np.exp(-((embedding[:, 0] - 1) ** 2)) - 2)


def moved(n: int = 160, patients: int = 16, shift: float = 4.0, seed: int = 0) -> LocalCells:
    """Blasts lie around 1 and normal cells around -1 in the first number, all of them moved by ``shift``."""
    rng = np.random.default_rng(seed)
    whose = np.arange(n) % patients
    label = (whose % 2).astype(np.int64)
    embedding = rng.normal(scale=0.5, size=(n, 6))
    embedding[:, 0] += 2 * label - 1 + shift
    logit = bend(embedding)
    group = np.array([f"P{k}" for k in whose])
    scores = Scores(tuple(map(str, range(n))), label, sigmoid(logit), logit, group, group)
    return LocalCells(scores, embedding)


def test_features_brought_to_moments_have_them() -> None:
    rng = np.random.default_rng(0)
    away, home = rng.normal(3, 2, (500, 4)), Moments(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4]))
    scale, shift = Moments.of(away).brought_to(home, "mean and spread")
    found = Moments.of(away * scale + shift)
    assert found.mean == pytest.approx(home.mean)
    assert found.spread == pytest.approx(home.spread)
    scale, shift = Moments.of(away).brought_to(home, "mean")
    assert np.array_equal(scale, np.ones(4))
    assert (away + shift).mean(axis=0) == pytest.approx(home.mean)
    flat = Moments(np.zeros(4), np.zeros(4)).brought_to(home, "mean and spread")[0]
    assert flat.max() == 3  # a number that does not vary here is not blown up


def test_moments_of_training_are_those_that_the_gate_keeps() -> None:
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(2000, 12)) * np.linspace(0.5, 3, 12) + 1
    fit = fit_embedding(embedding)
    assert not isinstance(fit, str)
    facts = GateFacts.model_construct(embedding=fit)
    found = Moments.of_training(facts)
    assert found is not None
    assert found.mean == pytest.approx(embedding.mean(axis=0), abs=1e-5)
    assert found.spread == pytest.approx(embedding.std(axis=0), rel=0.02)
    assert Moments.of_training(None) is None


def test_a_moved_head_is_repaired_by_alignment_and_measured_without_the_patient() -> None:
    held, new = moved(), moved(400, 20, seed=5)
    rest = moved(300, 300, seed=9).embedding
    home = Home(bend, Moments.of(moved(2000, 50, shift=0.0, seed=7).embedding), rest)
    found = fit_laboratory(held, DecisionFacts(), data="site", home=home, replicates=200)
    assert found.alignment == "mean"
    assert next(s for s in found.steps if s.choice == "mean").kept
    assert found.before["auc"].value < 0.9 < 0.97 < found.after["auc"].value
    assert found.better
    right = ((changed_logits(new, found.change, home) > 0) == (new.scores.label == 1)).mean()
    assert right > 0.93
    alone = fit_laboratory(held, DecisionFacts(), data="site", replicates=200)  # the moments are not known
    assert alone.alignment == "none"
    assert len(alone.steps) == 1


def test_a_kept_head_learns_nothing_of_those_who_gave_the_labels() -> None:
    """Each patient leaves a mark of its own on the features: a fitted head learns it, and states too much."""
    rng = np.random.default_rng(0)

    def drawn(patients: int, each: int) -> LocalCells:
        label = np.arange(patients) % 2
        marks = rng.normal(scale=3, size=(patients, 20))
        whose = np.repeat(np.arange(patients), each)
        seen = marks[whose] + rng.normal(size=(len(whose), 20))
        logit = 2.0 * label[whose] - 1 + rng.normal(size=len(whose))  # of what is not among these features
        alone = np.array([f"cell {k}" for k in range(len(whose))])  # whose they are is not told
        return LocalCells(Scores(tuple(alone), label[whose], sigmoid(logit), logit, alone, alone), seen)

    local, others = drawn(6, 20), drawn(40, 10)
    told, true = {}, {}
    for name, pulls in (("fitted", PULLS), ("kept", BIAS_ALONE)):
        found = fit_laboratory(local, DecisionFacts(), data="site", pulls=pulls, replicates=50)
        logit = changed_logits(others, found.change, None)
        told[name] = found.after["auc"].value
        true[name] = float(roc_auc_score(others.scores.label, logit))
        if name == "kept":
            assert not found.change.weight.any()
    assert true["kept"] == pytest.approx(roc_auc_score(others.scores.label, others.scores.logit))
    assert true["fitted"] < true["kept"] - 0.1
    assert told["fitted"] > true["fitted"] + 0.2
    assert abs(told["kept"] - true["kept"]) < 0.1


def test_the_curve_ends_with_all_labels_and_grows() -> None:
    held = moved(120, 12, shift=0.5)
    home = Home(bend, Moments.of(moved(2000, 50, shift=0.0, seed=7).embedding), held.embedding[:0])
    found = fit_laboratory(held, DecisionFacts(), data="site", home=home, replicates=50)
    assert [each.cells for each in found.curve] == [10, 20, 40, 80, 120]
    assert all(each.least <= each.auc <= each.most for each in found.curve)
    assert found.curve[-1].auc > 0.97


def test_a_path_of_pulls_ends_where_each_pull_alone_does() -> None:
    held = moved(60, 12)
    old, embedding, label = held.scores.logit, held.embedding, held.scores.label
    for pull, change in zip(PULLS, refits(old, embedding, label), strict=True):
        alone = refit(pull.trust * old, embedding, label, pull.strength)
        assert change.logits(pull.trust * old, embedding) == pytest.approx(
            alone.logits(pull.trust * old, embedding), abs=1e-6
        )
    assert "nothing of the old one" in Pull(0.0, 1.0).words()
    assert Pull(1.0, float("inf")).words() == "only its bias moved"


def test_two_laboratories_are_told_from_one_and_classes_are_not_taken_for_laboratories() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 80)
    one = rng.normal(size=(80, 12)) + 3 * label[:, None]  # the classes differ by far, the laboratory is one
    assert mixture_warning(one, label) is None
    other = rng.random(80) < 0.3
    mixed = one + 8 * other[:, None] * (np.arange(12) < 3)
    said = mixture_warning(mixed, label)
    assert said is not None
    assert f"({int(other.sum())} and {80 - int(other.sum())}," in said
    far, heap = apart(mixed, label)
    assert np.array_equal(heap, other)
    assert far > 4
    assert mixture_warning(mixed[:39], label[:39]) is None  # too few to say so
    assert apart(np.ones((50, 3)), np.zeros(50, np.int64))[0] == 0


def gate_cells(n: int, seed: int, shift: float = 0.0) -> GateCells:
    rng = np.random.default_rng(seed)
    group = np.array([f"P{k % 10}" for k in range(n)])
    return GateCells(
        rng.normal(size=(n, len(MEASURES))) * 30 + 200 + shift, rng.normal(size=(n, 9)) + shift,
        rng.normal(size=(n, 6)) + shift, group, np.zeros(n, np.bool_),
    )  # fmt: skip


def test_a_gate_is_refitted_where_the_old_one_turns_the_laboratory_down() -> None:
    old, away = fit_gate(gate_cells(400, 0), data="home"), gate_cells(120, 1, shift=20.0)
    assert flagged(old, away).mean() > 0.95
    found = choose_gate(old, away, data="site")
    assert found.gate is not None
    assert found.why is None
    assert found.before is not None
    assert found.after is not None
    assert found.after < 0.3 < 0.95 < found.before
    assert found.gate.data == "site"
    assert flagged(found.gate, gate_cells(300, 2, shift=20.0)).mean() < 0.3
    assert flagged(found.gate, gate_cells(300, 3)).mean() > 0.9  # what was ordinary at home is foreign here
    stays = choose_gate(old, gate_cells(120, 4), data="same")
    assert stays.gate is None
    assert "clearly" in str(stays.why)


def test_flags_are_those_of_each_limit() -> None:
    cells = gate_cells(30, 0)
    name = next(iter(MEASURES))
    limit = LimitFacts(reason="too small", measure=name, side="low", limit=150, middle=200)
    facts = GateFacts.model_construct(
        limits=[limit], stain=StainFacts(mean=[0.0] * 9, whitening=np.eye(9).tolist()), embedding=None
    )
    assert np.array_equal(flagged(facts, cells), cells.values[:, 0] < 150)
