"""The part of a picture that a cell fills: its bounding box and its mask, found once for all that is measured there.

A cell at the resolution at which it is divided and measured: reduced by a power of two that hangs on its size alone.

Everything that is said of a cell is a share of its diameter or spans some pixels; at half the resolution most of it
costs a quarter of the time. docs/morphology.md tells how well both agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """One cell and its bounding box.

    Attributes:
        rgb: uint8 [h, w, 3], the picture within the bounding box of the cell.
        mask: bool [h, w], the cell.
        left: first column of the box in the picture, pixels.
        top: first row.
        shape: height and width of the picture.
    """

    rgb: NDArray[np.uint8]
    mask: Mask
    left: int
    top: int
    shape: tuple[int, int]

    def in_picture(self, part: Mask) -> Mask:
        """A mask bool [h, w] of the box as one of the picture, bool [H, W]."""
        whole = np.zeros(self.shape, np.bool_)
        whole[self.top : self.top + part.shape[0], self.left : self.left + part.shape[1]] = part
        return whole


def cutout_of_frame(frame: NDArray[np.uint8]) -> Cutout:
    """The cell of a frame from `cells.frame.frame_cell`: everything that is not exactly black.

    Args:
        frame: uint8 [F, F, 3], before any CLAHE.

    Raises:
        ValueError: the frame holds no cell.
    """
    first, top, across, height = cv2.boundingRect(frame.reshape(len(frame), -1))  # three times as wide: no mask is made
    if not across:
        raise ValueError("the frame holds no cell")
    left = first // 3
    width = (first + across - 1) // 3 - left + 1
    rgb = np.ascontiguousarray(frame[top : top + height, left : left + width])
    return Cutout(rgb, brightest(rgb) > 0, left, top, (frame.shape[0], frame.shape[1]))


def cutout(picture: NDArray[np.uint8], mask: Mask) -> Cutout:
    """The cell that a mask outlines in a picture.

    Args:
        picture: uint8 [H, W, 3].
        mask: bool [H, W].

    Raises:
        ValueError: the mask is empty or has another shape than the picture.
    """
    if mask.shape != picture.shape[:2] or not mask.any():
        raise ValueError(f"the outline must be a mask of {picture.shape[:2]} that is not empty, not {mask.shape}")
    outline = np.ascontiguousarray(mask, np.bool_)
    left, top, width, height = cv2.boundingRect(outline.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    shape = (picture.shape[0], picture.shape[1])
    return Cutout(np.ascontiguousarray(picture[window]), np.ascontiguousarray(outline[window]), left, top, shape)


def brightest(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest of the three channels of each pixel, uint8 [H, W]: a fifth of the time that NumPy takes.

    >>> brightest(np.array([[[1, 7, 3]]], np.uint8)).tolist()
    [[7]]
    """
    red, green, blue = (cv2.extractChannel(rgb, channel) for channel in range(3))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


SMALL = 100  # pixels: cells of a lesser diameter are left as they are
LARGE = 400  # pixels: from here on by four, from twice this by eight, and so on


@dataclass(frozen=True, eq=False)
class View:
    """A cell and its bounding box, reduced.

    Attributes:
        cut: the same at full resolution.
        step: side in pixels of what has become one; a power of two.
        rgb: uint8 [h, w, 3], means over squares of ``step`` pixels.
        share: uint8 [h, w], how much of each square is cell, 255 for all of it.
        outline: bool [h, w], squares of which half or more is cell.
        solid: bool [h, w], squares that are all cell, so that nothing of the surround is mixed into them.
    """

    cut: Cutout
    step: int
    rgb: NDArray[np.uint8]
    share: NDArray[np.uint8]
    outline: Mask
    solid: Mask

    @cached_property
    def area(self) -> int:
        """Of the cell, in pixels of the picture."""
        return int(np.count_nonzero(self.cut.mask))

    @cached_property
    def diameter(self) -> float:
        """Of the disc with the outline's area, in pixels of the view."""
        return math.sqrt(4 * np.count_nonzero(self.outline) / math.pi)

    def in_picture(self, part: Mask) -> Mask:
        """A part of the cell, bool [h, w] of the view, as a mask of the picture, bool [H, W].

        What it leaves out of the outline is enlarged and taken away from the outline of full resolution.
        """
        rest = self.outline & ~part
        mask = self.cut.mask
        if self.step == 1 or not rest.any():
            return self.cut.in_picture(mask & ~rest if self.step == 1 else mask)
        height, width = (self.step * side for side in rest.shape)
        enlarged = cv2.resize(rest.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return self.cut.in_picture(mask & (enlarged[: mask.shape[0], : mask.shape[1]] <= 0.5))


def step_of(diameter: float) -> int:
    """How much a cell of this diameter in pixels is reduced.

    >>> [step_of(d) for d in (60, 100, 210, 399, 400, 900)]
    [1, 2, 2, 2, 4, 8]
    """
    return 1 if diameter < SMALL else 2 * 2 ** max(0, math.floor(math.log2(diameter / LARGE)) + 1)


def view(cut: Cutout, step: int | None = None) -> View:
    """Reduce a cell.

    Args:
        cut: the cell.
        step: pixels that become one, a power of two; by default `step_of` its diameter.
    """
    if step is None:
        step = step_of(math.sqrt(4 * np.count_nonzero(cut.mask) / math.pi))
    if step == 1:
        return View(cut, 1, cut.rgb, 255 * cut.mask.view(np.uint8), cut.mask, cut.mask)
    height, width = cut.mask.shape
    down, across = -height % step, -width % step
    rgb, mask = cut.rgb, cut.mask.view(np.uint8)
    if down or across:  # whole squares; what is added belongs to no cell
        rgb = np.asarray(cv2.copyMakeBorder(rgb, 0, down, 0, across, cv2.BORDER_REPLICATE), np.uint8)
        mask = np.asarray(cv2.copyMakeBorder(mask, 0, down, 0, across, cv2.BORDER_CONSTANT, value=(0,)), np.uint8)
    size = ((width + across) // step, (height + down) // step)
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    share = np.asarray(cv2.resize(255 * mask, size, interpolation=cv2.INTER_AREA), np.uint8)
    return View(cut, step, small, share, np.asarray(share >= 127), np.asarray(share == 255))
