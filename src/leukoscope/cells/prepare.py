"""From a decoded picture to the frame that a network sees: the one preparation shared by training and running."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from leukoscope.cells.clahe import clahe
from leukoscope.cells.frame import frame_cell


class Clahe(BaseModel):
    """Settings of contrast-limited adaptive histogram equalisation on LAB lightness."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    clip_limit: Annotated[float, Field(gt=0, le=40)] = 2.0
    tiles: Annotated[int, Field(ge=1, le=32)] = 8


class Preparation(BaseModel):
    """How a picture becomes a frame. Plain data: it is stored in the recipe and in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    frame_size: Annotated[int, Field(ge=32, le=1024)] = 450
    clahe: Clahe | None = None


def prepare(rgb: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Put the cell of a picture into the standard frame.

    Args:
        rgb: one cell on a black surround, uint8 [H, W, 3].
        preparation: frame size in pixels and optional CLAHE.

    Returns:
        uint8 [F, F, 3], the cell centred, everything outside it exactly 0.

    Raises:
        PictureError: no cell on a black surround is found.
    """
    return equalise(frame_cell(rgb, preparation.frame_size), preparation)


def equalise(frame: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """The second half of `prepare`: a framed cell, uint8 [F, F, 3], with CLAHE where it is asked for."""
    if preparation.clahe is None:
        return frame
    return clahe(frame, clip_limit=preparation.clahe.clip_limit, tiles=preparation.clahe.tiles)
