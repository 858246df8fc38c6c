"""Does the map turn with the cell?"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.counts import Array
from leukoscope.studies.audits.heatmaps.cells import Cells, Explain, Frames, Mask, mask_coverage
from leukoscope.studies.audits.heatmaps.sanity import pearson

ANGLES = (90.0, 180.0, 270.0, 30.0)  # degrees, counter-clockwise
_BATCH = 16


def turned(picture: NDArray[Any], degrees: float) -> NDArray[Any]:
    """A square picture [S, S] or [S, S, C] turned counter-clockwise about its middle; quarter turns are exact.

    >>> turned(np.array([[1.0, 2.0], [3.0, 4.0]]), 90).tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    if degrees % 90 == 0:
        quarter: NDArray[Any] = np.ascontiguousarray(np.rot90(picture, int(degrees // 90)))
        return quarter
    middle = (picture.shape[1] - 1) / 2, (picture.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR), picture.dtype)


def turning_figures(
    cells: Cells, maps: Array, explain: Explain, angles: tuple[float, ...] = ANGLES
) -> dict[str, Array]:
    """How a map follows the cell when the frame is turned.

    Args:
        cells: N cells.
        maps: of the frames as they are, float64 [N, h, w].
        explain: makes the maps.
        angles: by which to turn, in degrees.

    Returns:
        Correlations over the fields that the cell covers by half or more, means over the angles, each float64 [N]:
        ``turn``: of the first map with the map of the turned cell after turning that back; ``turn_fixed``: with the map
        of the turned cell as it lies, which is what a map gets that does not follow, and the control for ``turn``.
    """
    followed, fixed = [], []
    for degrees in angles:
        back, still = [], []
        for start in range(0, len(cells), _BATCH):
            rows = slice(start, start + _BATCH)
            frames = np.stack([
                _turned_frame(frame, outline, degrees)
                for frame, outline in zip(cells.frames[rows], cells.outline[rows], strict=True)
            ])  # fmt: skip
            for first, second, outline in zip(maps[rows], explain(frames), cells.outline[rows], strict=True):
                inside = mask_coverage(outline, first.shape) >= 0.5
                back.append(_agreement(first, np.asarray(turned(second, -degrees)), inside))
                still.append(_agreement(first, second, inside))
        followed.append(back)
        fixed.append(still)
    return {"turn": np.mean(followed, axis=0), "turn_fixed": np.mean(fixed, axis=0)}


def _turned_frame(frame: Frames, outline: Mask, degrees: float) -> Frames:
    picture = turned(frame, degrees)
    if degrees % 90:  # interpolation leaves a dark fringe around the cell
        picture = picture * (turned(outline.astype(np.float32), degrees) > 0.5)[..., None].astype(np.uint8)
    return np.asarray(picture, np.uint8)


def _agreement(a: Array, b: Array, inside: Mask) -> float:
    if np.count_nonzero(inside) < 3:
        return float("nan")
    return pearson(a[inside], b[inside])
