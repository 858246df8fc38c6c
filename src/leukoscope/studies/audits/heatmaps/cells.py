"""The cells that heat maps are tested on, and the two questions that can be put to a model about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.metrics.counts import Array

Frames = NDArray[np.uint8]  # [N, F, F, 3], prepared
Mask = NDArray[np.bool_]
Logits = Callable[[Frames], Array]
"""Frames to logits float64 [N], positive for blast."""
Explain = Callable[[Frames], Array]
"""Frames to signed maps float64 [N, h, w] over the whole frame, positive for blast, row 0 at the top."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Prepared cells with their masks.

    Args:
        frames: uint8 RGB [N, F, F, 3], everything outside the cell exactly 0.
        outline: bool [N, F, F], the cell.
        nucleus: one mask bool [F, F] per cell, None where the nucleus cannot be told from the cytoplasm.
        label: int64 [N], 1 blast, 0 normal.
        group: str [N], patient group.

    Raises:
        DataError: no cells, masks of another size than the frames, an empty outline, columns of another length.
    """

    frames: Frames
    outline: Mask
    nucleus: tuple[Mask | None, ...]
    label: NDArray[np.int64]
    group: NDArray[Any]

    def __post_init__(self) -> None:
        """Check that everything fits."""
        size = self.frames.shape[:3]
        if self.frames.ndim != 4 or not len(self.frames):
            raise DataError("no cells to test heat maps on", remedy="give at least one readable picture with a label")
        masks = [self.outline, *(mask[None] for mask in self.nucleus if mask is not None)]
        if self.outline.shape[0] != size[0] or any(mask.shape[1:] != size[1:] for mask in masks):
            raise DataError(f"the masks are of another size than the frames, {list(size[1:])}")
        if not self.outline.any(axis=(1, 2)).all():
            raise DataError("the mask of a cell is empty")
        if not len(self.nucleus) == len(self.label) == len(self.group) == size[0]:
            raise DataError(f"{size[0]} frames, but {len(self.nucleus)} nuclei and {len(self.label)} labels")

    def __len__(self) -> int:
        return len(self.frames)


def mask_coverage(mask: Mask, shape: tuple[int, int]) -> Array:
    """How much of each field of a map of ``shape`` (h, w) the mask covers, float64 [h, w] in 0..1.

    >>> mask_coverage(np.eye(4, dtype=bool), (2, 2)).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    resized = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float64)


#: Of each decision, the side of 0 that its logits are on.
SIGN: Final[Mapping[str, float]] = MappingProxyType({"blast": 1.0, "normal": -1.0})


def only(columns: Mapping[str, Array], which: Mask) -> dict[str, Array]:
    """Columns [N] with NaN for the cells that are not meant, which leaves them out of a mean."""
    return {key: np.where(which, each, np.nan) for key, each in columns.items()}


def side_of(logits: Array) -> Array:
    """The sign of the decided class, +1 blast and -1 normal, by the side of 0 that a logit is on."""
    return np.where(np.asarray(logits) >= 0, 1.0, -1.0)
