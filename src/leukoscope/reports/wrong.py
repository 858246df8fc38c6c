"""The cells that were decided wrongly, the surest first: which they are, and what a page shows of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.scores import Scores

MOST_SHOWN = 24


@dataclass(frozen=True, slots=True)
class WrongCell:
    """One cell that was decided wrongly.

    Attributes:
        path: of its picture, relative to the data set.
        subject: whose it is; empty where that is not known.
        truth: `blast` or `normal`, as labelled.
        probability: of blast, as answered.
        picture: the frame, WebP.
        overlay: the same with its heat map, WebP.
    """

    path: str
    subject: str
    truth: str
    probability: float
    picture: bytes
    overlay: bytes

    def address(self, *, overlay: bool = False) -> str:
        """The picture as an address that holds it."""
        content = self.overlay if overlay else self.picture
        return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"


def wrong_rows(scores: Scores, threshold: float) -> NDArray[np.int64]:
    """Rows decided wrongly at a probability, int64 [M], those farthest on the wrong side first."""
    wrong = np.flatnonzero((scores.probability >= threshold) != (scores.label == 1))
    surest = np.lexsort((-np.abs(scores.logit[wrong]), -np.abs(scores.probability[wrong] - threshold)))
    rows: NDArray[np.int64] = wrong[surest]
    return rows
