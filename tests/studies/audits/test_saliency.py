"""Tests of heat maps, against references worked out otherwise and against maps that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from leukoscope.errors import DataError
from leukoscope.metrics.bootstrap import Resampling
from leukoscope.studies.audits.heatmaps.audit import Randomised, audit_explanations
from leukoscope.studies.audits.heatmaps.cells import Cells, side_of
from leukoscope.studies.audits.heatmaps.place import disc_maps, energy_share, gini, place_figures, random_maps
from leukoscope.studies.audits.heatmaps.road import impute, road
from leukoscope.studies.audits.heatmaps.sanity import likeness, pearson, ranks, spearman, ssim
from leukoscope.studies.audits.heatmaps.stability import turned, turning_figures
from leukoscope.studies.audits.rules import judged, mean_estimates, verdict_from

SIZE, FIELDS, COUNT = 64, 8, 8


def _cells() -> Cells:
    """Discs of grey with a red and a green spot at places that are the same in no two of them."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    outline = x**2 + y**2 <= 24**2
    frames = []
    for index in range(COUNT):
        frame = np.where(outline[..., None], rng.integers(90, 110, (SIZE, SIZE, 3)), 0)
        angle = rng.uniform(0, 2 * np.pi)
        for channel, turn in ((0, 0.0), (1, 2.1)):
            spot = (x - 13 * np.cos(angle + turn)) ** 2 + (y - 13 * np.sin(angle + turn)) ** 2 <= 7**2
            frame[spot] = 40
            frame[spot, channel] = 220 if channel == index % 2 else 190
        frames.append(frame)
    label = 1 - np.arange(COUNT) % 2
    masks = np.repeat(outline[None], COUNT, axis=0)
    core = (x**2 + y**2 <= 20**2,) * (COUNT - 1)
    return Cells(np.stack(frames).astype(np.uint8), masks, (*core, None), label, np.arange(COUNT) // 2)


def _map(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Red less green by field: what the model below hangs on, exactly."""
    unit = frames.astype(np.float64) / 255
    side = frames.shape[1] // FIELDS
    blocks = (unit[..., 0] - unit[..., 1]).reshape(len(frames), FIELDS, side, FIELDS, side)
    return np.asarray(blocks.mean(axis=(2, 4)))


def _ask(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(150 * _map(frames).mean(axis=(1, 2)))


CELLS = _cells()
MAPS, LOGITS = _map(CELLS.frames), _ask(CELLS.frames)
SIDE = side_of(LOGITS)
PLAN = Resampling.by_group(CELLS.label, CELLS.group, replicates=200)


def test_the_toy_model_knows_the_classes() -> None:
    assert (2 * CELLS.label - 1 == SIDE).all()


def test_rank_correlation_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 50), rng.normal(size=50)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(5), b[:5]))
    assert ranks([]).shape == (0,)


def test_ssim_against_windows_one_by_one() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(2, 5, (11, 9)), rng.normal(size=(11, 9))
    x, y = ((each - each.min()) / (each.max() - each.min()) for each in (a, b))
    found = []
    for i in range(5):
        for j in range(3):
            u, v = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
            both = ((u - u.mean()) * (v - v.mean())).mean()
            top = (2 * u.mean() * v.mean() + 1e-4) * (2 * both + 9e-4)
            found.append(top / ((u.mean() ** 2 + v.mean() ** 2 + 1e-4) * (u.var() + v.var() + 9e-4)))
    assert ssim(a, b) == pytest.approx(np.mean(found))
    assert ssim(a, 3 * a + 1) == pytest.approx(1)


def test_gini_against_all_pairs() -> None:
    values = np.random.default_rng(2).exponential(size=(5, 6))
    pairs = np.abs(values.reshape(-1, 1) - values.reshape(1, -1)).mean()
    assert gini(values) == pytest.approx(pairs / (2 * values.mean()))
    assert gini(np.ones((3, 3))) == pytest.approx(0, abs=1e-12)
    assert np.isnan(gini(np.zeros((3, 3))))


def test_energy_by_hand() -> None:
    assert energy_share(np.array([[1.0, 3.0]]), np.array([[0.5, 1.0]])) == pytest.approx(3.5 / 4)
    flat = place_figures(CELLS, np.ones((COUNT, FIELDS, FIELDS)), np.ones(COUNT))
    assert flat["cell"] == pytest.approx(CELLS.outline.mean(axis=(1, 2)))
    assert np.isnan(flat["nucleus"][-1])
    assert flat["nucleus"][0] == pytest.approx(CELLS.nucleus[0].mean())
    against = place_figures(CELLS, -np.ones((COUNT, FIELDS, FIELDS)), np.ones(COUNT))
    assert np.isnan(against["cell_decided"]).all()


def test_imputation_against_a_dense_solution() -> None:
    rng = np.random.default_rng(4)
    picture = rng.uniform(20, 220, (9, 8, 3))
    inside = np.zeros((9, 8), bool)
    inside[1:8, 1:7] = True
    removed = np.zeros_like(inside)
    removed[2:6, 1:5] = True
    found = impute(picture, removed, inside, rng, noise=0)
    places = np.argwhere(removed)
    index = {tuple(place): k for k, place in enumerate(places.tolist())}
    matrix, given = np.zeros((len(places), len(places))), np.zeros((len(places), 3))
    for k, (row, column) in enumerate(places.tolist()):
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                other = (row + i, column + j)
                if (i, j) == (0, 0) or not inside[other]:
                    continue
                weight = 1 / 6 if 0 in (i, j) else 1 / 12
                matrix[k, k] += weight
                if other in index:
                    matrix[k, index[other]] -= weight
                else:
                    given[k] += weight * picture[other]
    assert found[removed] == pytest.approx(np.linalg.solve(matrix, given), abs=0.2)
    np.testing.assert_array_equal(found[~removed], picture[~removed])


def test_a_cell_removed_whole_becomes_its_mean_and_never_black() -> None:
    inside = np.ones((6, 6), bool)
    picture = np.random.default_rng(5).uniform(0, 3, (6, 6, 3))
    found = impute(picture, inside, inside, np.random.default_rng(0), noise=0)
    assert found == pytest.approx(np.broadcast_to(np.maximum(picture.mean(axis=(0, 1)), 1), (6, 6, 3)))
    assert impute(picture, inside, inside, np.random.default_rng(0)).min() >= 1


def test_the_right_map_is_faithful_and_wrong_ones_are_not() -> None:
    """Flipped, mirrored, turned, or of the wrong sign: each must be found out."""
    right = road(CELLS, MAPS, LOGITS, SIDE, _ask).gap.mean()
    assert right > 0.3
    wrong = {
        "sign": -MAPS,
        "flipped": MAPS[:, ::-1],
        "mirrored": MAPS[:, :, ::-1],
        "transposed": MAPS.swapaxes(1, 2),
        "random": random_maps(COUNT, (FIELDS, FIELDS), 0),
        "disc": disc_maps(SIDE, (FIELDS, FIELDS), float(CELLS.outline.mean())),
    }
    gaps = {name: road(CELLS, each, LOGITS, SIDE, _ask).gap.mean() for name, each in wrong.items()}
    assert gaps["sign"] == pytest.approx(-right, abs=0.05)
    assert max(gaps.values()) < right / 2, gaps


def test_removal_keeps_the_outline() -> None:
    seen = []

    def ask(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.append(frames)
        return _ask(frames)

    road(CELLS, MAPS, LOGITS, SIDE, ask)
    frames = np.concatenate(seen).reshape(COUNT, -1, SIZE, SIZE, 3)
    for outline, variants in zip(CELLS.outline, frames, strict=True):
        assert not variants[:, ~outline].any()
        assert variants[:, outline].any(axis=2).all()


def test_a_map_that_follows_and_maps_that_do_not() -> None:
    angles = (90.0, 180.0, 30.0)
    exact = turning_figures(CELLS, MAPS, _map, (90.0, 180.0, 270.0))
    assert exact["turn"] == pytest.approx(1)
    assert exact["turn_fixed"].mean() < 0.5
    free = turning_figures(CELLS, MAPS, _map, (30.0,))
    assert free["turn"].mean() > 0.8
    for wrong in (lambda f: _map(f)[:, ::-1], lambda f: _map(f)[:, :, ::-1], lambda f: _map(f).swapaxes(1, 2)):
        assert turning_figures(CELLS, wrong(CELLS.frames), wrong, angles)["turn"].mean() < 0.6


def test_turning_forth_and_back() -> None:
    picture = np.random.default_rng(6).uniform(size=(9, 9, 3))
    np.testing.assert_array_equal(turned(turned(picture, 270), -270), picture)
    y, x = np.mgrid[:33, :33] - 16.0
    smooth = np.exp(-((x - 5) ** 2 + (y + 3) ** 2) / 40)
    assert turned(turned(smooth, 30), -30) == pytest.approx(smooth, abs=0.03)
    assert np.argmax(turned(smooth, 90)) == np.argmax(np.rot90(smooth))


def test_likeness_of_a_map_to_itself_its_negative_and_noise() -> None:
    def one(explain: object) -> object:
        return likeness("x", CELLS, MAPS, [explain], PLAN, SIDE)  # type: ignore[list-item]

    noise = random_maps(COUNT, (FIELDS, FIELDS), 7)
    same, negative = one(_map), one(lambda f: -_map(f))
    assert (same.signed.value, same.size.value, same.ssim.value) == pytest.approx((1, 1, 1))  # type: ignore[attr-defined]
    assert (negative.signed.value, negative.size.value) == pytest.approx((-1, 1))  # type: ignore[attr-defined]
    rows = iter([noise[:8], noise[8:]])
    other = one(lambda _f: next(rows))
    assert abs(other.signed.value) < 0.2  # type: ignore[attr-defined]
    # A network with finer or coarser fields: the same map, seen by means or between lines.
    finer = one(lambda f: np.kron(_map(f), np.ones((2, 2))))
    coarser = one(lambda f: _map(f).reshape(len(f), FIELDS // 2, 2, FIELDS // 2, 2).mean(axis=(2, 4)))
    assert finer.signed.value == pytest.approx(1)  # type: ignore[attr-defined]
    assert 0.6 < coarser.signed.value < 1  # type: ignore[attr-defined]


def _audit(explain: object, **more: object) -> dict[str, str]:
    found = audit_explanations(
        CELLS, _ask, explain, randomised=[Randomised(1, 1, (_noise,))], shuffled=_noise, replicates=200, **more
    )  # type: ignore[arg-type]
    return {rule.key: rule.outcome for rule in found.rules}


def _noise(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    return random_maps(len(frames), (FIELDS, FIELDS), int(frames[0].sum()))


def test_verdicts() -> None:
    assert set(_audit(_map).values()) == {"passes"}
    mirrored = _audit(lambda f: _map(f)[:, :, ::-1])
    assert mirrored["faithful"] == mirrored["turns with the cell"] == "fails"
    flat = _audit(lambda f: np.ones((len(f), FIELDS, FIELDS)))
    assert flat["inside the cell"] == flat["faithful"] == "fails"


def test_a_rule_that_fails_for_one_decision_fails() -> None:
    """Maps of cells called normal lie outside of them; pooled with those of blasts most of the energy is inside."""
    outside = ~CELLS.outline[0].reshape(FIELDS, SIZE // FIELDS, FIELDS, SIZE // FIELDS).any(axis=(1, 3))

    def explain(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        maps = _map(frames)
        normal = side_of(_ask(frames)) < 0
        maps[normal] = 0.001 * maps[normal] - 0.01 * outside
        return maps

    found = audit_explanations(CELLS, _ask, explain, replicates=200)
    rules = {rule.key: rule for rule in found.rules}
    assert found.figures["map"]["cell"].value < 1
    assert found.decided["blast"].figures["map"]["cell_decided"].value > 0.98
    assert found.decided["normal"].figures["map"]["cell_decided"].value < 0.1
    assert rules["inside the cell"].outcome == "fails"
    assert "normal (4 cells): 0.0" in rules["inside the cell"].found
    assert [found.decided[name].cells for name in ("blast", "normal")] == [4, 4]


def test_a_decision_that_no_cell_got_leaves_its_rules_open() -> None:
    found = audit_explanations(CELLS, lambda f: np.abs(_ask(f)), lambda f: np.abs(_map(f)), replicates=200)
    outcome = {rule.key: rule.outcome for rule in found.rules}
    assert found.decided["normal"].cells == 0
    assert outcome["inside the cell"] in {"not measured", "fails"}


def test_a_map_that_survives_random_weights_fails() -> None:
    found = audit_explanations(CELLS, _ask, _map, randomised=[Randomised(1, 1, (_map,))], shuffled=_map, replicates=200)
    outcome = {rule.key: rule.outcome for rule in found.rules}
    assert outcome["hangs on weights"] == outcome["hangs on labels"] == "fails"


def test_a_model_without_knowledge_fails() -> None:
    found = audit_explanations(CELLS, lambda f: 0.01 * _ask(f), _map, replicates=200)
    outcome = {rule.key: rule.outcome for rule in found.rules}
    assert outcome["knows"] == "fails"
    assert outcome["hangs on weights"] == "not measured"


def test_means_leave_out_what_is_undefined() -> None:
    column = np.where(np.arange(COUNT) == 0, np.nan, np.arange(COUNT, dtype=float))
    found = mean_estimates({"a": column}, PLAN)["a"]
    assert found.value == pytest.approx(np.nanmean(column))
    assert found.low < found.value < found.high
    assert np.isnan(mean_estimates({"a": np.full(COUNT, np.nan)}, PLAN)["a"].value)


def test_nothing_measured_is_no_pass() -> None:
    assert verdict_from([judged("a", "?", "", None)])[0] is False
    assert verdict_from([judged("a", "?", "", None), judged("b", "?", "", True)]) == (
        True,
        "passes all 1 rules; not measured: a",
    )
    assert np.isnan(pearson([1, 1, 1], [1, 2, 3]))


@pytest.mark.parametrize("fault", ["size", "empty", "length", "none"])
def test_masks_that_do_not_fit(fault: str) -> None:
    frames, outline, nucleus = CELLS.frames, CELLS.outline.copy(), CELLS.nucleus
    if fault == "size":
        outline = outline[:, :32]
    elif fault == "empty":
        outline[3] = False
    elif fault == "length":
        nucleus = nucleus[:-1]
    else:
        frames = frames[:0]
    with pytest.raises(DataError):
        Cells(frames, outline, nucleus, CELLS.label, CELLS.group)
