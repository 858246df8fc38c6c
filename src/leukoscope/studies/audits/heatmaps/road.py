"""Does the answer hang on what the map marks? ROAD: remove what it ranks first, or last, and look at the answer.

Taking pixels of a cell away without leaving a hole: each becomes what its neighbours suggest, plus some noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from leukoscope.metrics.counts import Array
from leukoscope.studies.audits.heatmaps.cells import Cells, Frames, Logits, Mask, mask_coverage

NOISE = 2.5  # levels of 255: 0.01 of the range, as the authors' code has it
_NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], dtype=np.float64) / 12  # 1/6 beside, 1/12 across corners
_TOLERANCE = 0.02  # levels, of the residual of each equation
_STEPS = 400


def impute(picture: Array, removed: Mask, inside: Mask, rng: Generator, *, noise: float = NOISE) -> Array:
    """Noisy linear imputation of Rong et al. 2022, "A consistent and efficient evaluation strategy" (ROAD).

    Every removed pixel is set to the weighted mean of its eight neighbours, all at once: a sparse system of equations,
    solved by conjugate gradients. Other than there, pixels outside the cell take no part: the cell keeps its outline
    and its size, which are cues to the class, and black never bleeds in.

    Args:
        picture: float64 [h, w, 3], levels of 255.
        removed: bool [h, w], pixels to replace.
        inside: bool [h, w], the cell; what is removed must lie inside.
        rng: for the noise.
        noise: standard deviation in levels.

    Returns:
        float64 [h, w, 3] in 0..255. A removed part that touches no pixel that is left becomes the cell's mean colour.
    """
    if not removed.any():
        return picture.copy()
    gone, kept = removed[..., None].astype(np.float64), (inside & ~removed)[..., None].astype(np.float64)
    weight = _around(np.repeat(inside[..., None].astype(np.float64), 3, axis=2))
    given = _around(picture * kept) * gone
    mean = picture[inside & ~removed] if (inside & ~removed).any() else picture[inside]
    x = gone * mean.mean(axis=0)
    residual = given - (weight * x - _around(x)) * gone
    direction, size = residual.copy(), (residual**2).sum(axis=(0, 1))
    for _ in range(_STEPS):
        if np.abs(residual).max() < _TOLERANCE:
            break
        image = (weight * direction - _around(direction)) * gone
        curvature = (direction * image).sum(axis=(0, 1))
        step = np.divide(size, curvature, out=np.zeros(3), where=curvature > 0)
        x += step * direction
        residual -= step * image
        smaller = (residual**2).sum(axis=(0, 1))
        direction = residual + np.divide(smaller, size, out=np.zeros(3), where=size > 0) * direction
        size = smaller
    x += rng.normal(0, noise, x.shape) if noise > 0 else 0.0
    # At least one level: a pixel of exactly 0 would pass for surround.
    return np.asarray(np.where(removed[..., None], np.clip(x, 1, 255), picture))


def _around(values: Array) -> Array:
    return np.asarray(cv2.filter2D(values, cv2.CV_64F, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT), np.float64)


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
    inside = mask_coverage(outline, (grid, grid)) > 0.99  # pixels mixed with the surround keep what they are
    if not inside.any():
        inside = mask_coverage(outline, (grid, grid)) > 0
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
