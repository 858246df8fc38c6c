"""Gaussians fitted to the cells that a gate knows: of their stain, and of the network's embedding.

Both distances are Mahalanobis distances (K. Lee, K. Lee, H. Lee & J. Shin 2018, "A simple unified framework for
detecting out-of-distribution samples and adversarial attacks", NeurIPS), of all cells together, not by class: the gate
asks whether a cell is of the kind that was learned, not which of the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate_facts import EmbeddingFacts, Packed, StainFacts

Array = NDArray[np.float64]

AXES = 32  # of the embedding that keep their own variance
CELLS_PER_AXIS = 8  # of the fit; with fewer cells, fewer axes
_FLAT = 1e-6  # of the largest variance: less is rounding
_LEAST_SD = 0.02  # of the stain's numbers: cells of one picture alone still leave some room


def shrunk_covariance(values: Array) -> Array:
    """Covariance drawn towards a multiple of the identity, as far as loses least.

    O. Ledoit & M. Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", J Multivar Anal
    88, 365-411, lemma 3.2 to 3.4.

    Args:
        values: float64 [N, D], N at least 2.

    Returns:
        float64 [D, D].
    """
    count, size = values.shape
    rest = values - values.mean(axis=0)
    covariance = rest.T @ rest / count
    scale = np.trace(covariance) / size
    target = scale * np.eye(size)
    apart = float(np.sum((covariance - target) ** 2))
    # Sum over cells of |x x' - S|^2, multiplied out so that no D x D matrix per cell is made.
    noise = float(np.sum(np.sum(rest**2, axis=1) ** 2) / count - np.sum(covariance**2)) / count
    share = min(noise / apart, 1.0) if apart > 0 else 0.0
    return np.asarray(share * target + (1 - share) * covariance)


def fit_stain(stain: Array) -> StainFacts:
    """Fit the stain of cells.

    Each number is brought to unit spread first, so that shrinkage treats densities, logarithms and correlations alike.

    Args:
        stain: float64 [N, 9] from `leukoscope.cells.quality_stain.stain_statistics`.
    """
    spread = np.maximum(stain.std(axis=0), _LEAST_SD)
    covariance = shrunk_covariance(stain / spread)
    covariance += 1e-3 * np.eye(len(covariance))  # numbers that do not vary at all have no inverse
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)) / spread
    return StainFacts(mean=stain.mean(axis=0).tolist(), whitening=whitening.tolist())


def fit_embedding(embedding: Array) -> EmbeddingFacts | str:
    """Fit the embedding by probabilistic principal components.

    The K axes of largest variance keep it; all others share the mean of theirs (M. Tipping & C. Bishop 1999,
    "Probabilistic principal component analysis", J R Stat Soc B 61, 611-622, eq. 7 and 8).

    Args:
        embedding: float64 [N, E], finite.

    Returns:
        The fit, or why there can be none.
    """
    count, size = embedding.shape
    kept = min(AXES, size - 1, count // CELLS_PER_AXIS)
    if kept < 1:
        return f"an embedding of {size} numbers of {count} cells is too small"
    mean = embedding.mean(axis=0)
    rest = embedding - mean
    variances, axes = np.linalg.eigh(rest.T @ rest / (count - 1))
    variances, axes = variances[::-1], axes[:, ::-1].T
    if not variances[0] > 0:
        return "the network's embedding is the same for all cells"
    floor = _FLAT * variances[0]
    return EmbeddingFacts(
        mean=Packed.of(mean),
        axes=Packed.of(axes[:kept]),
        variances=np.maximum(variances[:kept], floor).tolist(),
        rest=float(max(variances[kept:].mean(), floor)),
    )
