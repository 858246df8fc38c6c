"""Features of another laboratory brought to the moments that they have in the training cells; no label is needed.

The moments of the training cells are those of the bundle's gate, which keeps them as a Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np

from leukoscope.bundle.gate import GateFacts
from leukoscope.metrics.counts import Array

Alignment = Literal["none", "mean", "mean and spread"]
ALIGNMENTS: Final[tuple[Alignment, ...]] = ("none", "mean", "mean and spread")
_MOST: Final = 3.0  # a spread is changed by at most this factor


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and standard deviation of each number of an embedding, float64 [E] each."""

    mean: Array
    spread: Array

    @classmethod
    def of(cls, embedding: Array) -> Self:
        """Of cells, float64 [N, E]."""
        return cls(embedding.mean(axis=0), embedding.std(axis=0))

    @classmethod
    def of_training(cls, gate: GateFacts | None) -> Self | None:
        """Of the cells that a bundle's gate was fitted on; None where it keeps none."""
        if gate is None or gate.embedding is None:
            return None
        known = gate.embedding
        axes, variances = known.axes.array(), np.array(known.variances)
        variance = known.rest + (variances - known.rest) @ axes**2
        return cls(known.mean.array(), np.sqrt(np.maximum(variance, 0)))

    def brought_to(self, home: Moments, how: Alignment) -> tuple[Array, Array]:
        """Scale and shift, float64 [E] each, that bring cells with these moments to others."""
        if how == "none":
            return np.ones(len(self.mean)), np.zeros(len(self.mean))
        scale = np.ones(len(self.mean))
        if how == "mean and spread":
            scale = np.clip(home.spread / np.maximum(self.spread, 1e-12), 1 / _MOST, _MOST)
        return scale, home.mean - scale * self.mean
