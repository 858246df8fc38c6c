"""Cells with one cue taken away, and models that are known to use one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.errors import DataError
from leukoscope.studies.audits.shortcuts.audit import audit_shortcuts, partial_correlation
from leukoscope.studies.audits.shortcuts.variants import MEANING, VARIANTS, Typical, mean_colour, vary

SIZE = 112
TYPICAL = Typical(2500.0, (120.0, 60.0, 140.0))


def _cell(radius: float = 34, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    mask = (x / 1.2) ** 2 + y**2 <= radius**2
    frame = np.where(mask[..., None], rng.integers(30, 200, (SIZE, SIZE, 3)), 0).astype(np.uint8)
    return frame, mask


def _vary(name: str, frame: np.ndarray, mask: np.ndarray, other: tuple[float, ...] = (90, 90, 160)) -> np.ndarray:
    return vary(name, frame, mask, TYPICAL, other, np.random.default_rng(1))  # type: ignore[arg-type]


def test_every_variant_is_described_and_stays_on_black() -> None:
    frame, mask = _cell()
    assert set(MEANING) == set(VARIANTS)
    for name in VARIANTS:
        out = _vary(name, frame, mask)
        assert out.shape == frame.shape
        assert out.dtype == np.uint8
        if name not in ("size normalised", "colour only"):
            assert not out[~mask].any(), name


@given(st.floats(15, 50), st.integers(0, 9))
def test_one_area_for_all(radius: float, seed: int) -> None:
    frame, mask = _cell(min(radius, 44), seed)
    out = _vary("size normalised", frame, mask)
    assert np.count_nonzero(out.any(axis=2)) == pytest.approx(TYPICAL.area, rel=0.03)
    assert mean_colour(out, out.any(axis=2)) == pytest.approx(mean_colour(frame, mask), abs=6)


def test_a_cell_of_the_typical_area_stays_as_it_is() -> None:
    frame, mask = _cell()
    out = vary("size normalised", frame, mask, Typical(float(mask.sum()), (0, 0, 0)), (), np.random.default_rng(0))
    np.testing.assert_array_equal(out, frame)


def test_what_is_shuffled_is_all_still_there() -> None:
    frame, mask = _cell()
    for name in ("pixels shuffled", "patches shuffled"):
        out = _vary(name, frame, mask)
        assert (out != frame).any()
        for a, b in ((out, frame),):
            np.testing.assert_array_equal(np.sort(a[mask].ravel()), np.sort(b[mask].ravel()))
    fine = _vary("patches shuffled", frame, mask)
    side = SIZE // 14
    before = {frame[y : y + side, x : x + side].tobytes() for y in range(0, SIZE, side) for x in range(0, SIZE, side)}
    after = [fine[y : y + side, x : x + side].tobytes() for y in range(0, SIZE, side) for x in range(0, SIZE, side)]
    assert set(after) <= before


def test_cues_that_are_left() -> None:
    frame, mask = _cell()
    silhouette = _vary("silhouette", frame, mask)
    assert np.unique(silhouette[mask], axis=0).tolist() == [[120, 60, 140]]
    disc = _vary("colour only", frame, mask)
    inside = disc.any(axis=2)
    assert inside.sum() == pytest.approx(TYPICAL.area, rel=0.02)
    assert np.unique(disc[inside], axis=0)[0] == pytest.approx(mean_colour(frame, mask), abs=0.5)
    grey = _vary("grey", frame, mask)
    assert (np.ptp(grey, axis=2) == 0).all()
    assert not _vary("background only", frame, mask).any()
    noisy = frame.copy()
    noisy[0, 0] = 3
    assert _vary("background only", noisy, mask).sum() == 9


def test_another_cells_colour_and_its_own_lightness() -> None:
    """Of pale colours, which no shift takes out of what a screen can show."""
    frame, mask = _cell()
    frame = np.where(mask[..., None], 120 + frame // 8, 0).astype(np.uint8)
    out = _vary("colours swapped", frame, mask, (150.0, 130.0, 150.0))
    lab, was = (cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (out, frame))
    wanted = cv2.cvtColor(np.array([[[150, 130, 150]]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    assert lab[mask][:, 1:].mean(axis=0) == pytest.approx(wanted[1:], abs=0.3)
    assert np.abs(lab[mask][:, 0] - was[mask][:, 0]).max() < 1


@given(st.integers(0, 10_000))
def test_partial_correlation_against_residuals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 30)
    label[:2] = 0, 1
    x, y = rng.normal(size=30) + label, 1e5 + 3e4 * rng.normal(size=30) + label
    times = rng.integers(0, 4, 30)
    times[:4] = 1
    rows = np.repeat(np.arange(30), times)
    a, b, c = x[rows], y[rows], label[rows]
    for value in (0, 1):
        a[c == value] -= a[c == value].mean()
        b[c == value] -= b[c == value].mean()
    assert float(partial_correlation(x, y, label, times)) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    both = partial_correlation(x, y, label, np.stack([times, np.ones(30)]))
    assert both.shape == (2,)


def _world(by_size: float, by_colour: float) -> dict[str, str]:
    """A model whose logit is a known mixture of two cues, both of which tell the classes apart."""
    rng = np.random.default_rng(2)
    label = np.repeat([1, 0], 150)
    size, colour = label + rng.normal(0, 0.7, 300), label + rng.normal(0, 0.7, 300)
    group = np.arange(300) // 10
    answers = {
        "plain": by_size * size + by_colour * colour,
        "size normalised": by_colour * colour + 0.01 * rng.normal(size=300),
        "background only": np.zeros(300),
    }
    found = audit_shortcuts(answers, 100 + 10 * size, label, group, black=True, replicates=200)
    assert found.area_auc.value > 0.8
    assert found.auc["background only"].value == 0.5
    assert found.lost["size normalised"].value == pytest.approx(
        found.auc["plain"].value - found.auc["size normalised"].value
    )
    return {rule.key: rule.outcome for rule in found.rules}


def test_a_model_that_looks_at_size_is_found_out() -> None:
    assert _world(1, 0) == {"size": "fails", "area": "fails", "background": "passes"}
    assert _world(1, 1)["area"] == "fails"


def test_a_model_that_does_not_passes() -> None:
    assert set(_world(0, 1).values()) == {"passes"}


def test_a_telling_surround_is_found_out() -> None:
    label = np.tile([0, 1], 20)
    answers = {"plain": label * 1.0, "size normalised": label * 1.0, "background only": label * 1.0}
    found = audit_shortcuts(answers, np.arange(40.0), label, np.arange(40), black=False, replicates=100)
    assert [rule.outcome for rule in found.rules if rule.key == "background"] == ["fails"]


def test_one_class_or_a_missing_variant() -> None:
    with pytest.raises(DataError, match="one class"):
        audit_shortcuts({"plain": np.ones(3)}, np.ones(3), np.ones(3, int), np.arange(3), black=True)
    with pytest.raises(DataError, match="size normalised"):
        audit_shortcuts({"plain": np.ones(2)}, np.ones(2), np.array([0, 1]), np.arange(2), black=True)
