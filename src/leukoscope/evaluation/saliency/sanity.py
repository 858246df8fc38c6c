"""Does the map hang on what was learned? Adebayo et al. 2018, "Sanity checks for saliency maps"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from leukoscope.evaluation.intervals import Estimate, Resampling
from leukoscope.evaluation.rules import mean_estimates
from leukoscope.evaluation.saliency.cells import Cells, Explain, coverage
from leukoscope.evaluation.saliency.similarity import spearman, ssim
from leukoscope.evaluation.weighting import Array

_BATCH = 8


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
    """

    name: str
    layers: int
    of: int
    signed: Estimate
    size: Estimate
    frame: Estimate
    ssim: Estimate

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        figures = {key: getattr(self, key).as_dict() for key in ("signed", "size", "frame", "ssim")}
        return {"name": self.name, "layers": self.layers, "of": self.of, **figures}


def maps_of(cells: Cells, explain: Explain) -> Array:
    """Maps of all cells, float64 [N, h, w]."""
    return np.concatenate([explain(cells.frames[i : i + _BATCH]) for i in range(0, len(cells), _BATCH)])


def likeness(
    name: str, cells: Cells, maps: Array, others: Sequence[Explain], plan: Resampling, *, layers: int = 0, of: int = 0
) -> Likeness:
    """Compare maps with those of other networks on the same cells.

    Args:
        name: of the comparison.
        cells: N cells.
        maps: of the bundle, signed, float64 [N, h, w].
        others: networks of one kind, such as several draws of the same random layers; figures are means over them.
            Maps with another number of fields are brought to that of the bundle's.
        plan: of the draws over patient groups.
        layers: how many layers of the others are random.
        of: how many layers they have.
    """
    columns: dict[str, list[Array]] = {"signed": [], "size": [], "frame": [], "ssim": []}
    for explain in others:
        rows = []
        for first, found, outline in zip(maps, maps_of(cells, explain), cells.outline, strict=True):
            second = _with_fields(found, first.shape)
            inside = coverage(outline, first.shape) >= 0.5
            within = spearman(first[inside], second[inside])
            # A map without any differences says nothing, so it is like no other.
            within = 0.0 if np.isnan(within) else within
            whole = spearman(first.ravel(), second.ravel())
            rows.append((within, abs(within), abs(np.nan_to_num(whole)), ssim(np.abs(first), np.abs(second))))
        for key, column in zip(columns, np.array(rows).T, strict=True):
            columns[key].append(column)
    figures = mean_estimates({key: np.mean(each, axis=0) for key, each in columns.items()}, plan)
    return Likeness(name, layers, of, **figures)


def _with_fields(each: Array, shape: tuple[int, ...]) -> Array:
    """A map with another number of fields: means of finer ones, between coarser ones by lines."""
    if each.shape == shape:
        return each
    way = cv2.INTER_AREA if each.shape[0] > shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(each, (shape[1], shape[0]), interpolation=way), np.float64)
