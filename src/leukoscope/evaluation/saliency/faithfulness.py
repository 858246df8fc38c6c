"""Does the answer hang on what the map marks? ROAD: remove what it ranks first, or last, and look at the answer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from leukoscope.evaluation.saliency.cells import Cells, Frames, Logits, Mask, coverage
from leukoscope.evaluation.saliency.imputing import impute
from leukoscope.evaluation.weighting import Array

FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the cell's pixels
GRID = 56  # pixels: side of the grid on which missing pixels are solved for; maps are coarser still
_BATCH = 10


@dataclass(frozen=True, slots=True, eq=False)
class Road:
    """Probability of the class decided at first, after removal of `FRACTIONS`, float64 [N, Q] each.

    Attributes:
        intact: of the whole cell, [N].
        most: what speaks most for the decision removed first (MoRF).
        least: what speaks least for it, or most against, removed first (LeRF).
    """

    intact: Array
    most: Array
    least: Array

    @property
    def gap(self) -> Array:
        """Mean of ``least - most`` over the fractions, [N]: above 0 if the map knows what the answer hangs on."""
        return np.asarray((self.least - self.most).mean(axis=1))


def road(cells: Cells, maps: Array, logits: Array, side: Array, ask: Logits, *, seed: int = 0) -> Road:
    """Remove pixels in the order of the maps and ask again.

    Rong et al. 2022 (ROAD), with the removal restricted to the cell: the surround is black and says nothing, and
    deletion to black would change the cell's size and outline, which are cues to the class.

    Args:
        cells: N cells.
        maps: signed, float64 [N, h, w].
        logits: of the intact cells, [N].
        side: +1 or -1 [N], the class decided for.
        ask: the model.
        seed: of the noise, which is the same for every map tested on a cell.
    """
    answers = np.empty((len(cells), 2, len(FRACTIONS)))
    for row in range(len(cells)):
        pictures = _removals(cells.frames[row], cells.outline[row], side[row] * maps[row], (seed, row))
        found = np.concatenate([ask(pictures[i : i + _BATCH]) for i in range(0, len(pictures), _BATCH)])
        answers[row] = found.reshape(2, -1)
    towards = _probability(side[:, None, None] * answers)
    return Road(_probability(side * logits), towards[:, 0], towards[:, 1])


def _removals(frame: Frames, outline: Mask, support: Array, seed: tuple[int, int]) -> Frames:
    """Frames [2 Q, F, F, 3]: the best supported pixels removed, then the least supported."""
    size = frame.shape[0]
    grid = min(GRID, size)
    small = cv2.resize(frame, (grid, grid), interpolation=cv2.INTER_AREA).astype(np.float64)
    inside = coverage(outline, (grid, grid)) > 0.99  # pixels mixed with the surround keep what they are
    if not inside.any():
        inside = coverage(outline, (grid, grid)) > 0
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    value = cv2.resize(support, (grid, grid), interpolation=cv2.INTER_LINEAR)
    places = np.flatnonzero(inside)
    order = places[np.argsort(-value.ravel()[places], kind="stable")]
    pictures = []
    for ranked in (order, order[::-1]):
        for fraction in FRACTIONS:
            removed = np.zeros(grid * grid, dtype=np.bool_)
            removed[ranked[: round(fraction * len(ranked))]] = True
            removed = removed.reshape(grid, grid)
            filled = small.copy()
            filled[window] = impute(small[window], removed[window], inside[window], np.random.default_rng(seed))
            pictures.append(_placed(frame, outline, filled, removed))
    return np.stack(pictures)


def _placed(frame: Frames, outline: Mask, filled: Array, removed: Mask) -> Frames:
    size = (frame.shape[1], frame.shape[0])
    large = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)
    where = cv2.resize(removed.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(np.bool_) & outline
    return np.where(where[..., None], np.rint(large), frame).astype(np.uint8)


def _probability(margin: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -500, 500))))
