"""How alike two heat maps are: rank correlation, and structural similarity."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from leukoscope.evaluation.weighting import Array

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
    """Product-moment correlation of two vectors, NaN where one of them is constant."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
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
