"""What all metrics share: picture weights, and quotients that are NaN where they are undefined."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def as_weights(weights: ArrayLike | None, pictures: int) -> Array:
    """Weights as float64 [..., N]; ones [N] for None.

    A weight is how often a picture counts, so a bootstrap replicate is a weight vector and many replicates are a
    matrix [B, N], for which every metric of this room returns [B] values in one go.

    Raises:
        ValueError: the last axis is not N long, or a weight is negative or not finite.
    """
    if weights is None:
        return np.ones(pictures)
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != pictures:
        raise ValueError(f"weights of shape {array.shape} do not fit {pictures} pictures")
    if array.size and not (array.min() >= 0 and np.isfinite(array.max())):
        raise ValueError("weights must be finite and not negative")
    return array


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """``numerator / denominator``, NaN where the denominator is 0.

    >>> ratio([1.0, 1.0], [2.0, 0.0]).tolist()
    [0.5, nan]
    """
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    quotient = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom != 0)
    return quotient
