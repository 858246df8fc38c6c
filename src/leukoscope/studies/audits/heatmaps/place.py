"""Where a heat map's energy lies, and how concentrated it is; and two maps that know nothing, to compare with."""

from __future__ import annotations

import numpy as np

from leukoscope.metrics.counts import Array
from leukoscope.studies.audits.heatmaps.cells import Cells, mask_coverage


def energy_share(magnitude: Array, covered: Array) -> float:
    """Share of the energy of a map, float [h, w] not negative, that lies in the covered part; NaN for an empty map.

    The energy-based pointing game of Wang et al. 2020, "Score-CAM". A field of the map counts in proportion to how much
    of it is covered, so a map that is the same everywhere gets the part's share of the frame, which is chance.
    """
    total = float(magnitude.sum())
    return float((magnitude * covered).sum()) / total if total > 0 else float("nan")


def gini(magnitude: Array) -> float:
    """Gini index of a map's magnitudes: 0 if all fields have the same, near 1 if one has all; NaN for an empty map.

    Hurley & Rickard 2009, "Comparing measures of sparsity".

    >>> round(gini(np.array([0.0, 0.0, 0.0, 1.0])), 3)
    0.75
    """
    values = np.sort(magnitude.ravel())
    total, n = float(values.sum()), len(values)
    if not total > 0:
        return float("nan")
    return float(1 - 2 * (values / total * (n - np.arange(1, n + 1) + 0.5) / n).sum())


def place_figures(cells: Cells, maps: Array, side: Array) -> dict[str, Array]:
    """Where the maps of all cells lie, each float64 [N], NaN where undefined.

    Args:
        cells: N cells.
        maps: signed, float64 [N, h, w].
        side: +1 or -1 [N], the class decided for.

    Returns:
        ``cell``: share of the absolute energy inside the cell; ``cell_decided``: the same of the evidence for the
        decided class; ``nucleus``: share of the absolute energy inside the nucleus; ``nucleus_of_cell``: of the energy
        inside the cell, the share in the nucleus; ``gini``: sparsity of the absolute map.
    """
    rows = []
    for signed, sign, outline, nucleus in zip(maps, side, cells.outline, cells.nucleus, strict=True):
        size, covered = np.abs(signed), mask_coverage(outline, signed.shape)
        inside = energy_share(size, covered)
        deep = float("nan") if nucleus is None else energy_share(size, mask_coverage(nucleus, signed.shape))
        of_cell = deep / inside if inside > 0 else float("nan")
        rows.append((inside, energy_share(np.maximum(sign * signed, 0), covered), deep, of_cell, gini(size)))
    names = ("cell", "cell_decided", "nucleus", "nucleus_of_cell", "gini")
    return dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))


def chance(cells: Cells) -> dict[str, Array]:
    """What a map that is the same everywhere gets for the shares of `place_figures`, each float64 [N]."""
    cell = cells.outline.mean(axis=(1, 2), dtype=np.float64)
    nucleus = np.array([np.nan if mask is None else mask.mean() for mask in cells.nucleus], dtype=np.float64)
    return {"cell": cell, "cell_decided": cell, "nucleus": nucleus, "nucleus_of_cell": nucleus / cell}


def random_maps(count: int, shape: tuple[int, int], seed: int) -> Array:
    """Maps without any knowledge: each field uniform in -1..1, float64 [count, h, w]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape))


def disc_maps(side: Array, shape: tuple[int, int], share: float) -> Array:
    """The same disc in the middle for every picture, speaking for the decided class, float64 [N, h, w].

    Args:
        side: +1 or -1 [N].
        shape: of the maps.
        share: of the frame that the disc covers: the cells' mean share. It fades from its centre to its edge, so that
            its fields have an order.
    """
    axes = [(np.arange(length) + 0.5) / length - 0.5 for length in shape]
    squared = axes[0][:, None] ** 2 + axes[1] ** 2
    disc = np.maximum(1 - squared * np.pi / share, 0)
    return np.asarray(np.asarray(side)[:, None, None] * disc)
