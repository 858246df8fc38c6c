"""Drawn cells: always the same, whole, and of the size, form, stain and texture that were measured on real ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from leukoscope.cells.cutout import cutout_of_frame
from leukoscope.datasets.drawing import draw_cell, draw_person
from leukoscope.datasets.look import kin, measured_looks
from leukoscope.datasets.synthetic import Kind
from leukoscope.inference.morphology import measure_cell, percentile, shipped_reference

KINDS: tuple[Kind, ...] = ("blast", "normal")
#: What `leukoscope.cells.measure` measures, which no trait was fitted to but the area.
MEASURED = (
    "cell_area", "cell_roundness", "cell_elongation", "cell_solidity", "chromatin_density", "chromatin_contrast",
)  # fmt: skip


@pytest.fixture(scope="module")
def cells() -> dict[Kind, list[NDArray[np.uint8]]]:
    return {kind: [draw_cell(seed, kind) for seed in range(60)] for kind in KINDS}


def test_a_drawn_cell_is_one_whole_body_on_black(cells: dict[Kind, list[NDArray[np.uint8]]]) -> None:
    for drawn in cells.values():
        for cell in drawn:
            inside = cell.max(axis=2) > 0
            bodies, _ = cv2.connectedComponents(inside.view(np.uint8))
            assert bodies == 2  # the surround is one
            assert not inside[[0, -1]].any()
            assert not inside[:, [0, -1]].any()


def test_the_same_seed_gives_the_same_bytes_and_another_another_cell(
    cells: dict[Kind, list[NDArray[np.uint8]]],
) -> None:
    np.testing.assert_array_equal(draw_cell(3, "blast"), cells["blast"][3])
    assert len({cell.tobytes() for drawn in cells.values() for cell in drawn}) == 120


def test_a_smaller_frame_shows_the_same_cell_smaller(cells: dict[Kind, list[NDArray[np.uint8]]]) -> None:
    means = []
    for seed in range(20):
        small, whole = draw_cell(seed, "normal", size=225), cells["normal"][seed]  # half: less, and grain is lost
        shown, inside = small.max(axis=2) > 0, whole.max(axis=2) > 0
        assert shown.sum() == pytest.approx(inside.sum() / 4, rel=0.03)
        means.append((small[shown].mean(axis=0), whole[inside].mean(axis=0)))
    # Each draws its own coarse waves, which lift or lower a cell as a whole.
    np.testing.assert_allclose(*np.mean(means, axis=0), rtol=0.05)
    np.testing.assert_allclose(*np.swapaxes(means, 0, 1), rtol=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_kind_measures_as_real_cells_of_it(kind: Kind, cells: dict[Kind, list[NDArray[np.uint8]]]) -> None:
    real = shipped_reference().quantiles
    values = [measure_cell(cutout_of_frame(cell)).morphology.values for cell in cells[kind]]
    for name in MEASURED:
        drawn = [each[name] for each in values if each[name] is not None]
        assert len(drawn) >= 50
        middle = percentile(real[name][kind], float(np.median(np.array(drawn, float))))
        assert 12 < middle < 88, f"the middle drawn {kind} lies at {middle:.0f} % of real ones by {name}"
        spread = np.ptp(np.percentile(np.array(drawn, float), (25, 75))) / (real[name][kind][75] - real[name][kind][25])
        assert 0.3 < spread < 2.5, f"drawn {kind} cells spread {spread:.1f} times as real ones by {name}"


def test_kinds_overlap_in_size_as_real_ones_do(cells: dict[Kind, list[NDArray[np.uint8]]]) -> None:
    """On real cells the area alone has an AUC of about 0.80."""
    area = {kind: np.array([float((cell.max(axis=2) > 0).sum()) for cell in drawn]) for kind, drawn in cells.items()}
    larger = (area["blast"][:, None] > area["normal"]).mean()
    assert 0.65 < larger < 0.92


def test_a_person_has_cells_of_their_own_that_are_alike_as_measured() -> None:
    """Traits of 600 persons' first two cells: correlated as the look says that a person's cells are."""
    look = measured_looks()["blast"]
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(600):
        person = kin(rng)
        pairs.append([look.cell(rng, person).area for _ in range(2)])
    assert np.corrcoef(rankdata(pairs, axis=0).T)[0, 1] == pytest.approx(look.kinship, abs=0.1)
    first, again = (np.stack(list(draw_person(3, "normal", 3, size=90))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({cell.tobytes() for cell in [*first, *draw_person(4, "normal", 3, size=90)]}) == 6
