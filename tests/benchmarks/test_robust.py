"""Changes of one cell, and what they did to the answers."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from leukoscope.cells.frame import cell_mask
from leukoscope.datasets.synthetic import render_cell
from leukoscope.smears.normalise import NORMALISATIONS, read_reference
from robust import changes
from robust.ask import Background, collect, composed, cut_again, read_collected
from robust.consistency import Answers, consistency


@pytest.fixture(scope="module")
def cell() -> np.ndarray:
    return render_cell(3, "blast", size=300)


@pytest.mark.parametrize("change", changes.CHANGES, ids=lambda change: change.name)
def test_every_change_leaves_one_cell_on_black_and_is_the_same_for_the_same_draw(change, cell):
    twice = [change.apply(cell, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(*twice)
    assert twice[0].dtype == np.uint8
    assert not np.array_equal(twice[0], cell)
    mask = cell_mask(twice[0])
    assert 0.4 < mask.sum() / cell_mask(cell).sum() < 2
    if change.family in {"stain", "light", "sharpness"}:
        assert np.array_equal(mask, cell_mask(cell))
        assert not twice[0][~mask].any()


def test_restaining_multiplies_densities():
    rgb = np.zeros((60, 60, 3), np.uint8)
    cv2.circle(rgb, (30, 30), 20, (127, 63, 31), -1)  # densities of 1, 2 and 3 halvings
    matrix = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1.0]])
    assert changes.restained(rgb, matrix)[30, 30].tolist() == [127, round(256 * 2**-1.5 - 1), 31]


def test_gain_and_gamma_by_hand():
    rgb = np.zeros((60, 60, 3), np.uint8)
    cv2.circle(rgb, (30, 30), 20, (100, 80, 200), -1)
    assert changes.lit(rgb, (1.1, 1, 0.5))[30, 30].tolist() == [110, 80, 100]
    assert changes.lit(rgb, gamma=2.0)[30, 30].tolist() == [round(255 * (v / 255) ** 2) for v in (100, 80, 200)]


def test_outlines_move_by_the_pixels_said():
    rgb = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(rgb, (100, 100), 50, (120, 80, 160), -1)

    def radius(picture: np.ndarray) -> float:
        return float(np.sqrt(cell_mask(picture).sum() / np.pi))

    assert radius(changes.eroded(rgb, 4)) == pytest.approx(46, abs=0.7)
    assert radius(changes.dilated(rgb, 4)) == pytest.approx(54, abs=0.7)
    lost = cell_mask(rgb).sum() - cell_mask(changes.nicked(rgb, np.random.default_rng(0))).sum()
    # Two discs of radius 50 and 15, the second centred on the first one's outline: area of the lens by hand.
    assert lost == pytest.approx(319.6, rel=0.06)


def answers(logit: list[float], low: float = 0.0) -> Answers:
    values = np.array(logit)
    words = np.where(values >= 0, "blast", np.where(values >= low, "refer", "normal"))
    return Answers(values, values >= 0, np.where(np.isnan(values), "lost", words))


def test_shares_by_hand():
    label = np.array([1, 1, 1, 0, 0, 0])
    group = np.array(["a", "a", "b", "c", "d", "d"])
    before = answers([2, 1, -3, -2, -4, 1], low=-1)
    after = answers([2, -0.5, 1, np.nan, -4, -2], low=-1)
    found = consistency(label, group, np.zeros(6, int), before, after, replicates=50)
    assert found.lost.value == pytest.approx(1 / 6)
    assert found.flips.value == pytest.approx(3 / 5)  # the second, third and last
    assert found.overturned.value == pytest.approx(2 / 5)
    assert found.withdrawn.value == pytest.approx(1 / 5)
    assert found.groups == 4


def test_areas_are_those_of_scikit_learn_in_each_fold():
    rng = np.random.default_rng(0)
    label, fold = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    before = answers((label + rng.normal(0, 1, 200) + 100 * fold).tolist())
    after = answers((label + rng.normal(0, 2, 200) + 100 * fold).tolist())
    found = consistency(label, np.arange(200).astype(str), fold, before, after, replicates=100)
    for figure, each in ((found.auc_before, before), (found.auc, after)):
        truth = np.mean([roc_auc_score(label[fold == k], each.logit[fold == k]) for k in (0, 1)])
        assert figure.value == pytest.approx(truth)
    assert found.auc_gain.value == pytest.approx(found.auc.value - found.auc_before.value)
    assert found.auc_gain.low < found.auc_gain.value < found.auc_gain.high


def test_nothing_changed_is_nothing_flipped():
    same = answers([2, -1, 3, -2])
    found = consistency(np.array([1, 0, 1, 0]), np.array(list("abcd")), np.zeros(4, int), same, same, replicates=20)
    assert (found.flips.value, found.flips.high, found.lost.value, found.auc_gain.value) == (0, 0, 0, 0)


def test_what_cannot_be_compared_is_refused():
    one, gap = answers([1, 2]), answers([1, np.nan])
    with pytest.raises(ValueError, match="no answer before"):
        consistency(np.array([1, 0]), np.array(["a", "b"]), np.zeros(2, int), gap, one)
    with pytest.raises(ValueError, match="rows"):
        consistency(np.array([1]), np.array(["a", "b"]), np.zeros(2, int), one, one)


GROUND, RED = (198, 200, 197), (184, 164, 168)


def smear(width: int, height: int, red: int) -> np.ndarray:
    """Red cells of ``red`` px on a grid, uint8 [height, width, 3]."""
    picture = np.full((height, width, 3), GROUND, np.uint8)
    for y in range(red, height - red // 2, round(1.4 * red)):
        for x in range(red, width - red // 2, round(1.4 * red)):
            cv2.circle(picture, (x, y), red // 2, RED, -1, cv2.LINE_AA)
    noise = np.random.default_rng(0).integers(-2, 3, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1).astype(int) + noise, 0, 255).astype(np.uint8)


def test_a_cell_put_onto_a_field_is_cut_out_again_at_its_size():
    cell = np.zeros((300, 300, 3), np.uint8)
    cv2.circle(cell, (150, 150), 95, (110, 70, 130), -1, cv2.LINE_AA)
    cell[cell.max(axis=2) <= 60] = 0
    field = smear(640, 480, 80)
    field[150:330, 230:410] = GROUND
    background = Background("painted", field, 7.5 / 80, (320.0, 240.0))
    again = cut_again(composed(cell, background, (255, 255, 255)), background.place, read_reference())
    assert tuple(again) == NORMALISATIONS
    area = np.count_nonzero(again["none"].max(axis=2))
    assert np.sqrt(4 * area / np.pi) == pytest.approx(190, rel=0.1)
    assert cut_again(field, (320.0, 240.0), read_reference()) == {}


def test_a_study_that_was_stopped_goes_on(tmp_path):
    target = tmp_path / "rows.jsonl"

    def made(start: int):
        return ([{"item": number}] for number in range(start, 4))

    assert collect(target, made) == 4
    whole = target.read_bytes()
    target.write_bytes(whole[:-5])  # killed while writing the last line
    assert len(read_collected(target)) == 3
    assert collect(target, made) == 1
    assert target.read_bytes() == whole
    assert json.loads(whole.splitlines()[2]) == [{"item": 2}]
