"""The part of a picture that a cell fills: its bounding box and its mask, found once for all that is measured there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask


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
