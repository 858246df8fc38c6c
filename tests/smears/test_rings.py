from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.smears import find_cells
from leukoscope.smears.rings import valid_ring

from .smear import NUCLEUS, with_red_cells


def crosses(ring):
    """Brute force over all pairs of edges, in tenths: whether any two meet but for the corner that neighbours share."""
    points = [tuple(int(v) for v in p) for p in np.rint(ring * 10)]
    edges = list(zip(points, points[1:] + points[:1], strict=True))

    def turn(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    def on(a, b, c):
        within = all(min(a[k], b[k]) <= c[k] <= max(a[k], b[k]) for k in (0, 1))
        return turn(a, b, c) == 0 and within

    for (i, (a, b)), (j, (c, d)) in combinations(enumerate(edges), 2):
        if j == i + 1 or (i == 0 and j == len(edges) - 1):
            first, corner, last = (a, b, d) if j == i + 1 else (b, a, c)
            if on(corner, first, last) or on(corner, last, first):
                return True
            continue
        if any((on(a, b, c), on(a, b, d), on(c, d, a), on(c, d, b))):
            return True
        if turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0:
            return True
    return False


def area(ring):
    x, y = ring.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


KINDS = {
    "bow": [[0, 0], [40, 30], [40, 0], [0, 30]],
    "spike": [[0, 0], [30, 0], [30, 30], [60, 30], [30, 30], [0, 30]],
    "touches itself": [[0, 0], [20, 0], [20, 20], [40, 20], [40, 40], [20, 40], [20, 20], [0, 20]],
    "bridge": [
        [0, 0],
        [20, 0],
        [20, 10],
        [40, 10],
        [40, 0],
        [60, 0],
        [60, 20],
        [40, 20],
        [40, 10],
        [20, 10],
        [20, 20],
        [0, 20],
    ],
    "doubled point": [[0, 0], [0, 0], [20, 0], [20, 20], [20, 20], [0, 20]],
    "clockwise": [[0, 0], [0, 20], [20, 20], [20, 0]],
    "clipped at the edge": [[0, 0], [0, 5], [0, 3], [0, 9], [12, 9], [12, 0]],
}


@pytest.mark.parametrize("name", KINDS)
def test_rings_become_valid(name):
    ring = valid_ring(np.array(KINDS[name], float))
    assert not crosses(ring)
    assert area(ring) > 0


def test_a_valid_ring_stays_as_it_is():
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.round(np.stack([50 + 30 * np.cos(turn), 40 + 20 * np.sin(turn)], 1), 1)
    assert np.array_equal(valid_ring(ring), ring)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=14))
def test_any_points_give_a_valid_ring(points):
    ring = valid_ring(np.array(points, float) / 10)
    assert len(ring) >= 3
    assert not crosses(ring)
    assert area(ring) > 0


def test_contours_of_a_field_with_ragged_cells_are_valid():
    smear = with_red_cells(60, leave=(320, 240, 130)).white(320, 240, 110, 75)
    for x, y, size in ((390, 240, 34), (250, 240, 30), (320, 178, 26), (345, 290, 24)):
        smear.disc(x, y, size, NUCLEUS)
    smear.white(6, 300, 90, 60)
    for cell in find_cells(smear.picture()).cells:
        for each in (cell.outline, *cell.nucleus):
            ring = valid_ring(each)
            assert not crosses(ring)
            assert area(ring) == pytest.approx(abs(area(each)), rel=0.03)
