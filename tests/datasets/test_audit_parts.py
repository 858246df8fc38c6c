"""Parts of the leak audit against brute force and independent references."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.datasets.leaks.align import compare_tiles
from leukoscope.datasets.leaks.candidates import (
    ANGLES,
    RINGS,
    all_turns,
    find_candidates,
    fingerprint,
    near_turns,
    turned,
)
from leukoscope.datasets.leaks.coarse import coarse_layers, turn_angles
from leukoscope.datasets.leaks.links import Kind, Link, Transform, patient_groups, subject_pairs
from leukoscope.datasets.leaks.shortcuts import Shortcut, measure_shortcuts, weighted_auc
from leukoscope.datasets.leaks.tiles import reduce_picture
from leukoscope.datasets.synthetic import render_cell

STILL = Transform(0.0, False, 1.0, (0.0, 0.0))


def tile(seed: int, turns: int = 0, mirror: bool = False) -> np.ndarray:
    rgb = np.rot90(render_cell(seed, "blast"), turns)
    return reduce_picture(np.ascontiguousarray(rgb[:, ::-1] if mirror else rgb), "", "", 0).grey


def link(first: int, second: int, score: float = 0.8, kind: Kind = Kind.AGAIN) -> Link:
    return Link(first, second, kind, score, score, 1.0, STILL)


def test_fingerprint_forgets_shift_and_moves_with_turn_and_mirror() -> None:
    layer = coarse_layers(tile(5))[0]
    upright = fingerprint(layer)
    assert np.corrcoef(upright.ravel(), fingerprint(np.roll(layer, (5, -7), (0, 1))).ravel())[0, 1] > 0.999
    for turns, mirror in ((1, False), (2, False), (0, True), (1, True)):
        other = fingerprint(coarse_layers(tile(5, turns, mirror))[0])
        scores = [np.corrcoef(upright.ravel(), turned(other, *t).ravel())[0, 1] for t in all_turns()]
        assert max(scores) > 0.9
    stranger = fingerprint(coarse_layers(tile(6))[0])
    assert max(np.corrcoef(upright.ravel(), turned(stranger, *t).ravel())[0, 1] for t in all_turns()) < 0.6


@pytest.mark.parametrize(("turns", "mirror"), [(0, False), (1, False), (3, False), (0, True), (1, True)])
def test_comparison_finds_its_way_from_the_turn_of_the_fingerprint(turns: int, mirror: bool) -> None:
    a, b = tile(5), tile(5, turns, mirror)
    prints = np.stack([fingerprint(coarse_layers(t)[0]) for t in (a, b)])
    found = find_candidates(prints, np.array([0, 1]), near_turns())
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1)]
    alignment = compare_tiles(a, b, near_turns()[found.turn[0]])
    assert alignment is not None
    assert alignment.score > 0.97
    assert len(turn_angles(0)) == 6


def test_candidates_equal_brute_force() -> None:
    random = np.random.default_rng(2)
    prints = random.normal(size=(40, RINGS, ANGLES)).astype(np.float32)
    subjects = random.integers(-1, 6, 40)
    turns = near_turns()
    best = np.full((40, 40), -2.0)
    flat = prints.reshape(40, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    for t in turns:
        best = np.maximum(best, flat @ turned(flat.reshape(prints.shape), *t).reshape(40, -1).T)
    expected = set()
    for i in range(40):
        same = (subjects == subjects[i]) & (subjects[i] >= 0)
        for group, count in ((~same, 3), (same, 2)):
            order = [j for j in np.argsort(-best[i]) if group[j] and j != i and best[i, j] > 0][:count]
            expected |= {(min(i, j), max(i, j)) for j in order}
    found = find_candidates(prints, subjects, turns, others=3, own=2)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert expected == set(pairs)
    assert np.allclose(found.score, [best[i, j] for i, j in pairs], atol=1e-5)


def test_principal_axes_keep_true_pairs() -> None:
    random = np.random.default_rng(3)
    prints = random.normal(size=(1100, RINGS, ANGLES)).astype(np.float32)
    prints[1099] = turned(prints[7], 18, True) + 0.3 * random.normal(size=(RINGS, ANGLES)).astype(np.float32)
    found = find_candidates(prints, np.arange(1100), near_turns(), others=2, own=0 + 1)
    assert (7, 1099) in set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_rule_of_evidence() -> None:
    subjects = ["1", "2", "1", "2", "3", "4", "5", "", "6"]
    links = [
        link(0, 1), link(2, 3),  # two cells join 1 and 2
        link(4, 5),  # a single weak link: review
        link(5, 6, 0.95),  # a single strong one joins 4 and 5
        link(6, 8, 1.0, Kind.BYTES),  # a byte-identical one joins 5 and 6
        link(7, 8, 1.0),  # no subject: joins nothing
    ]  # fmt: skip
    pairs = subject_pairs(links, subjects)
    assert {(p.first, p.second): p.joined for p in pairs} == {
        ("1", "2"): True, ("3", "4"): False, ("4", "5"): True, ("5", "6"): True
    }  # fmt: skip
    groups = patient_groups(pairs, subjects)
    assert groups == {"1": "1+2", "2": "1+2", "3": "3", "4": "4+5+6", "5": "4+5+6", "6": "4+5+6"}


def test_one_cell_photographed_thrice_is_one_cell() -> None:
    pairs = subject_pairs([link(0, 1), link(0, 2)], ["1", "2", "2"])
    assert (len(pairs[0].links), pairs[0].cells, pairs[0].joined) == (2, 1, False)


def test_auc_and_shortcuts_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(24), 20).astype(str)
    labels = (np.arange(480) // 20 % 2).astype(np.int64)
    measures = np.exp(random.normal(size=(480, 9)))
    measures[:, 0] *= np.where(labels == 1, 3.0, 1.0)
    measures[:, 6:8] = 450  # the mean of its logarithm differs by rounding between classes of unlike size
    measures, labels, groups = measures[:-7], labels[:-7], groups[:-7]
    score, weight = np.round(random.normal(size=473), 1), random.integers(0, 4, 473).astype(float)
    assert weighted_auc(score, labels, weight) == pytest.approx(
        sklearn.roc_auc_score(labels, score, sample_weight=weight)
    )
    found = {s.name: s for s in measure_shortcuts(measures, labels, groups)}
    truth = sklearn.roc_auc_score(labels, measures[:, 0])
    assert found["area"].auc == pytest.approx(truth, abs=0.02)
    assert found["area"].low <= found["area"].auc <= found["area"].high
    assert found["picture resolution"] == Shortcut("picture resolution", 0.5, 0.5, 0.5)
    assert found["aspect"].auc == pytest.approx(0.5, abs=0.12)
    assert measure_shortcuts(measures, labels, np.where(labels == 1, "a", "b")) == []
