"""What the network makes of the cells, in two dimensions: which lie together, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.patients import Patients
from leukoscope.metrics.scores import Scores
from leukoscope.reports.plots import BLUE, INK, ORANGE, Kind, sheet
from leukoscope.reports.wording import of_whom
from leukoscope.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

MOST_DRAWN = 1500  # cells; more would only hide each other
FEW = 300  # cells, below which they are drawn larger
MOST_NAMED = 20  # patient groups whose middle is named, those with most cells first


def principal_axes(values: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first two principal components of rows: where each row lies, and the share of the variance on each.

    Args:
        values: float [N, E], N at least 2.

    Returns:
        float64 [N, 2] and float64 [2]; the largest coefficient of a component is positive, so that it is always drawn
        the same way round. Where the rows have less than two dimensions, the rest is 0.
    """
    away = np.asarray(values, np.float64) - np.mean(values, axis=0, dtype=np.float64)
    covariance = away.T @ away
    variance, axes = np.linalg.eigh(covariance)
    first = axes[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    places = np.zeros((len(away), 2))
    places[:, : first.shape[1]] = away @ first
    total = max(float(variance.sum()), np.finfo(np.float64).tiny)
    share = np.zeros(2)
    share[: first.shape[1]] = np.maximum(variance[::-1][:2], 0) / total
    return places, share


def draw_embedding(
    scores: Scores, embeddings: NDArray[np.floating[Any]], counts: Mapping[str, int], kind: Kind = "svg"
) -> bytes:
    """Cells by their first two principal components, coloured by truth, patient groups named at their middle.

    Args:
        scores: the table of answers, N rows.
        embeddings: float [N, E], in the same order.
        counts: of the evaluation, for the words of the head.
        kind: of picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    places, share = principal_axes(embeddings)
    drawn = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), MOST_DRAWN)).astype(int))

    def draw(axes: Axes) -> None:
        for label, colour, name in ((0, BLUE, "normal"), (1, ORANGE, "blast")):
            rows = drawn[scores.label[drawn] == label]
            axes.scatter(
                places[rows, 0], places[rows, 1], s=30 if len(drawn) < FEW else 9, marker="o" if label else "^",
                color=colour, alpha=0.6, lw=0, label=name, rasterized=True,
            )  # fmt: skip
        sizes = Patients.of(scores.group).sizes()
        for group in sorted(sizes, key=lambda each: -sizes[each])[:MOST_NAMED]:
            middle = np.median(places[scores.group == group], axis=0)
            axes.annotate(
                group if len(group) < 12 else f"{group[:10]}...", middle, size=6.5, color=INK, ha="center", va="center",
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.7},
            )  # fmt: skip
        axes.legend(loc="upper right", fontsize=8, frameon=False, labelcolor=INK)
        axes.set_xlabel(f"First component ({share[0]:.0%} of the variance)")
        axes.set_ylabel(f"Second component ({share[1]:.0%})")

    size = f"{counted(counts['pictures'], 'picture')} of {of_whom(counts)}"
    return sheet("What the network makes of the cells", [size], draw, kind=kind)
