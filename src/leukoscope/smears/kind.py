"""Which of three kinds a picture is: one cell on black, a crop of one cell with its surroundings, or a field."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import MAX_BORDER, NEAR_BLACK
from leukoscope.cells.masks import reduced_mask
from leukoscope.smears.seen import bounded_by_instrument, seen_part
from leukoscope.smears.stain import density

Kind = Literal["framed", "crop", "field"]

_SIDE = 128  # pixels: the picture is reduced to this
_SQUARE: Final = 1.2  # ratio of sides up to which a picture may be a crop
_LARGEST_CROP: Final = 700  # pixels: a longer side is a field's
_LEAST_SHARE: Final = 0.03  # of the picture: purple in the middle of a crop
_CENTRAL: Final = 0.20  # of the side: how far the purple's middle may lie from the picture's


def is_framed(rgb: NDArray[np.uint8]) -> bool:
    """Whether the picture is one cell on black.

    At most half of its outermost pixels are not near-black, and what is lit has no instrument's form: a field behind an
    eyepiece's circle or in a letterbox is a field.

    Args:
        rgb: uint8 [H, W, 3], at least one pixel.
    """
    return _on_black(rgb) and not bounded_by_instrument(rgb)


def is_behind_instrument(rgb: NDArray[np.uint8]) -> bool:
    """Whether the picture is a field on black: seen through an eyepiece's circle, or in a letterbox.

    Args:
        rgb: uint8 [H, W, 3], at least one pixel.
    """
    return _on_black(rgb) and bounded_by_instrument(rgb)


def _on_black(rgb: NDArray[np.uint8]) -> bool:
    ring = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    return float(np.mean(ring.max(axis=1) > NEAR_BLACK)) <= MAX_BORDER


def kind_of(rgb: NDArray[np.uint8]) -> Kind:
    """Tell the kind.

    - `framed`: see `is_framed`; what `cells.frame.prepare` takes.
    - `crop`: nearly square, no longer than `_LARGEST_CROP`, and its purple parts lie around its middle.
    - `field`: everything else. What shows no smear is left out first, see `smears.seen`.

    Args:
        rgb: uint8 [H, W, 3].
    """
    if is_framed(rgb):
        return "framed"
    seen = seen_part(rgb)
    rgb = seen.rgb
    height, width = rgb.shape[:2]
    if max(height, width) > min(_LARGEST_CROP, _SQUARE * min(height, width)):
        return "field"
    small = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    hidden = None if seen.hidden is None else reduced_mask(seen.hidden, small.shape)
    stained = density(np.ascontiguousarray(small, np.uint8), sigma=1.0, hidden=hidden)
    top = float(np.quantile(stained.purple, 1 - _LEAST_SHARE / 2))  # a single black speck does not decide
    strong = stained.purple > (stained.middle + top) / 2
    if float(strong.mean()) < _LEAST_SHARE:
        return "field"
    y, x = np.nonzero(strong)
    off = np.hypot(x.mean() + 0.5 - _SIDE / 2, y.mean() + 0.5 - _SIDE / 2) / _SIDE
    return "crop" if off <= _CENTRAL else "field"
