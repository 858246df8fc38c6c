"""Contrast-limited adaptive histogram equalisation of a cell's lightness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def clahe(rgb: NDArray[np.uint8], *, clip_limit: float = 2.0, tiles: int = 8) -> NDArray[np.uint8]:
    """Equalise the local contrast of a picture on CIE LAB lightness; its colours (a, b) are kept.

    Method: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994, in OpenCV's
    implementation. The histogram of a tile counts the black surround too, as OpenCV has no masked form.

    Args:
        rgb: uint8 [H, W, 3].
        clip_limit: bound of a histogram bin, in multiples of the mean bin, above 0.
        tiles: number of tiles along each side, at least 1.

    Returns:
        uint8 [H, W, 3]. Pixels that were exactly 0 in all channels are exactly 0.
    """
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
    equaliser = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    equalised: NDArray[np.uint8] = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)
    black = cv2.inRange(rgb, np.zeros(3, np.uint8), np.zeros(3, np.uint8))
    return np.asarray(cv2.bitwise_and(equalised, equalised, mask=cv2.bitwise_not(black)), np.uint8)
