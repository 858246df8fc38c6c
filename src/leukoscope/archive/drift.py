"""Sums over the cells of a month, kept by parts and added by a report: how stain and embedding drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import GateFacts, embedding_distances, stain_distances
from leukoscope.inference.answer import Answer

_DIGITS = 7  # kept of a sum: what a float32 has


@dataclass(slots=True)
class MonthSums:
    """Sums over cells that were asked and measured.

    Attributes:
        cells: how many.
        embedding: float64 [E], summed.
        stain: float64 [9], summed.
    """

    cells: int
    embedding: NDArray[np.float64]
    stain: NDArray[np.float64]

    def add(self, other: MonthSums) -> None:
        """Add the sums of other cells of the same month.

        Raises:
            ValueError: they have another number of features.
        """
        if other.embedding.shape != self.embedding.shape or other.stain.shape != self.stain.shape:
            raise ValueError("sums of another size")
        self.cells += other.cells
        self.embedding = self.embedding + other.embedding
        self.stain = self.stain + other.stain

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "cells": self.cells,
            "embedding": [float(f"{value:.{_DIGITS}g}") for value in self.embedding],
            "stain": [float(f"{value:.{_DIGITS}g}") for value in self.stain],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: the values are something else.
        """
        return cls(
            int(values["cells"]), np.array(values["embedding"], np.float64), np.array(values["stain"], np.float64)
        )


def sums_of(answer: Answer) -> MonthSums | None:
    """One cell as sums; None where it was not asked or not measured."""
    if answer.embedding is None or answer.quality is None or not np.isfinite(answer.embedding).all():
        return None
    return MonthSums(1, answer.embedding.astype(np.float64), answer.quality.stain)


def added(months: dict[str, MonthSums], month: str, sums: MonthSums) -> None:
    """Add sums to those of their month.

    Raises:
        ValueError: they have another number of features.
    """
    if month in months:
        months[month].add(sums)
    else:
        months[month] = MonthSums(sums.cells, sums.embedding.copy(), sums.stain.copy())


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the mean cell of a month lies from the mean training cell.

    Attributes:
        month: such as `2026-01`.
        cells: that the mean is of.
        stain: Mahalanobis distance, 1 is one standard deviation of training cells; None where the bundle has no gate.
        embedding: likewise; None where the gate compares no embedding.
    """

    month: str
    cells: int
    stain: float | None
    embedding: float | None


def drift_of(months: dict[str, MonthSums], gate: GateFacts | None) -> list[Drift]:
    """The months in order, each against the training cells."""
    found = []
    for month, sums in sorted(months.items()):
        stain = embedding = None
        if gate is not None:
            stain = float(stain_distances(gate.stain, (sums.stain / sums.cells)[None])[0])
            if gate.embedding is not None:
                embedding = float(embedding_distances(gate.embedding, (sums.embedding / sums.cells)[None])[0])
        found.append(Drift(month, sums.cells, stain, embedding))
    return found
