"""The proof that two pictures show one cell, and what kind of copy it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.audit.align import Alignment
from leukoscope.data.audit.tiles import PICTURE_SIDE, TILE_SIDE


class Kind(StrEnum):
    """How two pictures of one cell differ."""

    BYTES = "byte-identical"
    PIXELS = "pixel-identical"
    NEAR = "near-duplicate"
    AGAIN = "re-photographed"


@dataclass(frozen=True, slots=True)
class Transform:
    """What takes the first picture to the second: mirror left to right, then turn, then scale, then shift.

    Attributes:
        angle: degrees, clockwise on the screen, above -180 up to 180.
        mirror: whether it mirrors.
        scale: pixels of the second per pixel of the first.
        shift: (x, y), how far the first picture's centre lands from the second's, in pixels of the second.
    """

    angle: float
    mirror: bool
    scale: float
    shift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Link:
    """Two pictures that show one physical cell.

    Attributes:
        first, second: indices into the manifest, first < second.
        kind: how they differ.
        score: correlation of texture inside the overlap, mean of two bands; 1 for identical pictures.
        fine: that of the finer band alone.
        overlap: shared part of the smaller cell, 0 to 1.
        transform: takes the first picture to the second.
        neighbours: how many other links join the same two fields; 0 where fields are unknown.
        matrix: float64 [2, 3], tile to (mirrored) tile, for drawing.
    """

    first: int
    second: int
    kind: Kind
    score: float
    fine: float
    overlap: float
    transform: Transform
    neighbours: int = 0
    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    @property
    def identical(self) -> bool:
        """Whether bytes or pixels are equal."""
        return self.kind in (Kind.BYTES, Kind.PIXELS)


def picture_transform(
    alignment: Alignment, places: tuple[NDArray[np.float64], NDArray[np.float64]], sizes: NDArray[np.int64]
) -> Transform:
    """Alignment of two tiles, told in pixels of the two pictures.

    Args:
        alignment: of the tiles.
        places: of both tiles, float64 [2, 3] each, picture to tile.
        sizes: width and height of both pictures, int64 [2, 2].
    """
    flip = np.array([[-1.0, 0, TILE_SIDE - 1], [0, 1, 0], [0, 0, 1]]) if alignment.mirror else np.eye(3)
    whole = np.linalg.inv(_square(places[1])) @ flip @ _square(alignment.matrix) @ _square(places[0])
    linear = whole[:2, :2]
    scale = math.sqrt(abs(float(np.linalg.det(linear))))
    turn = linear @ np.diag([-1.0, 1.0]) if alignment.mirror else linear
    angle = math.degrees(math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
    centre = whole @ np.array([*((sizes[0] - 1) / 2), 1.0])
    shift = centre[:2] - (sizes[1] - 1) / 2
    return Transform(angle, alignment.mirror, scale, (float(shift[0]), float(shift[1])))


def kind_of(alignment: Alignment, transform: Transform, sizes: NDArray[np.int64]) -> Kind:
    """Whether one picture is the other's file processed again, or the cell was photographed again.

    A near-duplicate has the same grey levels, lies on the other frame to frame by quarter turns, and is as sharp.
    """
    off = abs((transform.angle + 45) % 90 - 45)
    stretch = transform.scale * float(sizes[0].max()) / float(sizes[1].max())
    shift = math.hypot(*transform.shift) * PICTURE_SIDE / float(sizes[1].max())
    # The scale is known to about 1 %: the fading rim pulls it down a little.
    same = off < 0.5 and abs(stretch - 1) < 0.02 and shift < 1.5
    return Kind.NEAR if same and alignment.grey < 2 and alignment.fine > 0.96 else Kind.AGAIN


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
