"""Cells with one cue taken away, or with one cue left.

All functions take a framed cell before any equalisation, uint8 RGB [F, F, 3] on black, and its mask, bool [F, F]; they
give a frame of the same size on black.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Variant = Literal[
    "plain", "silhouette", "size normalised", "pixels shuffled", "patches shuffled", "grey", "colours swapped",
    "colour only", "background only",
]  # fmt: skip
VARIANTS: tuple[Variant, ...] = get_args(Variant)
MEANING: dict[Variant, str] = {
    "plain": "The cells as they are.",
    "silhouette": "Outline and size only: every cell filled with one colour, the mean of all.",
    "size normalised": "Every cell scaled to one area; shape, colour and texture stay.",
    "pixels shuffled": "The pixels of a cell in random order: outline, size and colours stay, texture is gone.",
    "patches shuffled": "Squares of a fourteenth of the frame in random order: fine texture stays, its order is gone.",
    "grey": "Lightness only, no colour.",
    "colours swapped": "Each cell with the mean colour of another, drawn at random; its lightness and texture stay.",
    "colour only": "A disc of one size in the cell's mean colour.",
    "background only": "The cell blackened: what is left is the surround.",
}
LEVELS_ABOVE_BLACK = 12  # no pixel of a cell becomes so dark that it would pass for surround


@dataclass(frozen=True, slots=True)
class Typical:
    """What is typical of the cells of a data set.

    Attributes:
        area: median area in pixels of the frame.
        colour: mean colour, RGB in levels of 255.
    """

    area: float
    colour: tuple[float, float, float]


def vary(  # noqa: PLR0911 - one return for each variant
    variant: Variant, frame: Frame, mask: Mask, typical: Typical, other: tuple[float, ...], rng: Generator
) -> Frame:
    """Make one variant of a cell.

    Args:
        variant: which.
        frame: uint8 RGB [F, F, 3].
        mask: bool [F, F], not empty.
        typical: of the data set.
        other: mean colour of another cell, RGB, for "colours swapped".
        rng: for what is shuffled.
    """
    match variant:
        case "plain":
            return frame
        case "silhouette":
            return _filled(mask, typical.colour)
        case "size normalised":
            return of_area(frame, mask, typical.area)
        case "pixels shuffled":
            return shuffled_pixels(frame, mask, rng)
        case "patches shuffled":
            return shuffled_patches(frame, mask, max(frame.shape[0] // 14, 2), rng)
        case "grey":
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            return _visible(np.repeat(grey[..., None], 3, axis=2), mask)
        case "colours swapped":
            return recoloured(frame, mask, other)
        case "colour only":
            return _filled(_disc(frame.shape[0], typical.area), mean_colour(frame, mask))
        case "background only":
            return np.where(mask[..., None], 0, frame).astype(np.uint8)


def mean_colour(frame: Frame, mask: Mask) -> tuple[float, float, float]:
    """Mean of R, G and B over the cell."""
    red, green, blue = frame[mask].mean(axis=0, dtype=np.float64).tolist()
    return red, green, blue


def of_area(frame: Frame, mask: Mask, area: float) -> Frame:
    """The cell scaled about the middle of the frame to ``area`` pixels; what then leaves the frame is cut off."""
    scale = math.sqrt(area / np.count_nonzero(mask))
    size = frame.shape[0]
    middle = (size - 1) / 2
    matrix = np.array([[scale, 0, middle * (1 - scale)], [0, scale, middle * (1 - scale)]])
    # Antialiasing: a cell that shrinks is blurred first, as a camera of that scale would.
    both = np.dstack([frame, 255 * mask]).astype(np.float32)
    if scale < 1:
        both = np.asarray(cv2.GaussianBlur(both, (0, 0), 0.5 * math.sqrt(1 / scale**2 - 1)), np.float32)
    both = np.asarray(cv2.warpAffine(both, matrix, (size, size), flags=cv2.INTER_LINEAR), np.float32)
    soft, cover = both[..., :3], both[..., 3] / 255
    inside = cover > 0.5
    # Divided by its cover, a pixel at the edge has the cell's colour and no black mixed in.
    colour = np.rint(soft / np.maximum(cover, 0.5)[..., None]).clip(0, 255).astype(np.uint8)
    return _visible(colour, inside)


def shuffled_pixels(frame: Frame, mask: Mask, rng: Generator) -> Frame:
    """The cell's pixels in random order."""
    out = np.zeros_like(frame)
    out[mask] = rng.permutation(frame[mask], axis=0)
    return out


def shuffled_patches(frame: Frame, mask: Mask, side: int, rng: Generator) -> Frame:
    """The squares of ``side`` pixels that lie wholly inside the cell in random order; the rest of it stays."""
    size = frame.shape[0] // side
    corner = (frame.shape[0] - size * side) // 2
    places = [
        (y, x)
        for y in range(corner, corner + size * side, side)
        for x in range(corner, corner + size * side, side)
        if mask[y : y + side, x : x + side].all()
    ]
    out = frame.copy()
    for (y, x), index in zip(places, rng.permutation(len(places)).tolist(), strict=True):
        from_y, from_x = places[index]
        out[y : y + side, x : x + side] = frame[from_y : from_y + side, from_x : from_x + side]
    return out


def recoloured(frame: Frame, mask: Mask, colour: tuple[float, ...]) -> Frame:
    """The cell with the chroma (a and b of CIE LAB) shifted so that its mean is that of ``colour``; lightness stays."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    wanted = cv2.cvtColor(np.array([[colour]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    lab[..., 1:] += wanted[1:] - lab[mask][:, 1:].mean(axis=0)
    rgb = np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255).clip(0, 255).astype(np.uint8)
    return _visible(rgb, mask)


def _filled(mask: Mask, colour: tuple[float, ...]) -> Frame:
    out = np.zeros((*mask.shape, 3), np.uint8)
    out[mask] = np.rint(colour).astype(np.uint8)
    return _visible(out, mask)


def _disc(size: int, area: float) -> Mask:
    axis = np.arange(size) - (size - 1) / 2
    return np.asarray(axis[:, None] ** 2 + axis**2 <= area / math.pi)


def _visible(frame: Frame, mask: Mask) -> Frame:
    """Black outside the mask, and inside never so dark as to pass for surround."""
    dark = mask & (frame.max(axis=2) < LEVELS_ABOVE_BLACK)
    out = np.where(mask[..., None], frame, 0).astype(np.uint8)
    out[dark] = LEVELS_ABOVE_BLACK
    return out
