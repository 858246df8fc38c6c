"""Does the map hang on what was learned? Adebayo et al. 2018, "Sanity checks for saliency maps".

How alike two heat maps are: rank correlation, and structural similarity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from leukoscope.metrics.bootstrap import Estimate, Resampling
from leukoscope.metrics.counts import Array
from leukoscope.studies.audits.heatmaps.cells import SIGN, Cells, Explain, mask_coverage, only
from leukoscope.studies.audits.rules import mean_estimates

_WINDOW = 7  # fields; Wang et al. for pictures, and as coarse as half a map of 14 fields
_C1, _C2 = 0.01**2, 0.03**2


def ranks(values: ArrayLike) -> Array:
    """Ranks from 0, ties sharing their mean rank, float64 [N].

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [1.5, 0.0, 1.5]
    """
    _, place, count = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[place])


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Product-moment correlation of two vectors, NaN where one of them is constant or both are empty."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(x):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x**2).sum() * (y**2).sum()))
    scale = float(np.abs(a).max(initial=0) * np.abs(b).max(initial=0)) * len(x)
    return float((x * y).sum()) / size if size > 1e-12 * scale else float("nan")


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Rank correlation of two vectors, NaN where one of them is constant."""
    return pearson(ranks(a), ranks(b))


def ssim(a: Array, b: Array) -> float:
    """Mean structural similarity of two maps [h, w], each scaled to 0..1 by its own range; 1 for maps alike.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", with a square window
    of 7 fields and windows wholly inside only.
    """
    x, y = _unit(a), _unit(b)
    window = min(_WINDOW, *x.shape)

    def local(values: Array) -> Array:
        mean = cv2.boxFilter(values, cv2.CV_64F, (window, window), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
        return np.asarray(mean[: x.shape[0] - window + 1, : x.shape[1] - window + 1], np.float64)

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    both = local(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    return float((top / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean())


def _unit(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low if high > low else 1.0), np.float64)


_BATCH = 8


@dataclass(frozen=True, slots=True)
class LikenessDecided:
    """Of the cells of one decision: `Likeness.signed` and `Likeness.size`."""

    signed: Estimate
    size: Estimate


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like the bundle's maps are to those of a network that knows less.

    Attributes:
        name: which network.
        layers: how many of its layers are random, counted from the top.
        of: how many it has.
        signed: mean rank correlation inside the cell, the sign counting.
        size: mean magnitude of that correlation: 1 where the maps are alike or each other's negative.
        frame: mean magnitude of the rank correlation over the whole frame, where cell against surround counts too.
        ssim: mean structural similarity of the absolute maps.
        decided: by decision.
    """

    name: str
    layers: int
    of: int
    signed: Estimate
    size: Estimate
    frame: Estimate
    ssim: Estimate
    decided: Mapping[str, LikenessDecided]

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        figures = {key: getattr(self, key).to_json() for key in ("signed", "size", "frame", "ssim")}
        parts = {name: {"signed": p.signed.to_json(), "size": p.size.to_json()} for name, p in self.decided.items()}
        return {"name": self.name, "layers": self.layers, "of": self.of, **figures, "decided": parts}


def maps_of(cells: Cells, explain: Explain) -> Array:
    """Maps of all cells, float64 [N, h, w]."""
    return np.concatenate([explain(cells.frames[i : i + _BATCH]) for i in range(0, len(cells), _BATCH)])


def likeness(
    name: str,
    cells: Cells,
    maps: Array,
    others: Sequence[Explain],
    plan: Resampling,
    side: Array,
    *,
    layers: int = 0,
    of: int = 0,
) -> Likeness:
    """Compare maps with those of other networks on the same cells.

    Args:
        name: of the comparison.
        cells: N cells.
        maps: of the bundle, signed, float64 [N, h, w].
        others: networks of one kind, such as several draws of the same random layers; figures are means over them.
            Maps with another number of fields are brought to that of the bundle's.
        plan: of the draws over patient groups.
        side: of each cell's logit, float64 [N].
        layers: how many layers of the others are random.
        of: how many layers they have.
    """
    columns: dict[str, list[Array]] = {"signed": [], "size": [], "frame": [], "ssim": []}
    for explain in others:
        rows = []
        for first, found, outline in zip(maps, maps_of(cells, explain), cells.outline, strict=True):
            second = _with_fields(found, first.shape)
            inside = mask_coverage(outline, first.shape) >= 0.5
            within = spearman(first[inside], second[inside])
            # A map without any differences says nothing, so it is like no other.
            within = 0.0 if np.isnan(within) else within
            whole = spearman(first.ravel(), second.ravel())
            rows.append((within, abs(within), abs(np.nan_to_num(whole)), ssim(np.abs(first), np.abs(second))))
        for key, column in zip(columns, np.array(rows).T, strict=True):
            columns[key].append(column)
    means = {key: np.mean(each, axis=0) for key, each in columns.items()}
    decided = {}
    for decision, sign in SIGN.items():
        own = mean_estimates(only(means, side == sign), plan)
        decided[decision] = LikenessDecided(own["signed"], own["size"])
    return Likeness(name, layers, of, **mean_estimates(means, plan), decided=decided)


def _with_fields(each: Array, shape: tuple[int, ...]) -> Array:
    """A map with another number of fields: means of finer ones, between coarser ones by lines."""
    if each.shape == shape:
        return each
    way = cv2.INTER_AREA if each.shape[0] > shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(each, (shape[1], shape[0]), interpolation=way), np.float64)
