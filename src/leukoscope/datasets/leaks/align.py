"""Laying one cell over another to a fraction of a pixel: does its texture agree there?

Comparing candidate pairs, in batches that workers can share and a work folder can keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.leaks.candidates import Turn
from leukoscope.datasets.leaks.coarse import (
    LEAST_OVERLAP,
    Layers,
    coarse_layers,
    coarse_match,
    correlation,
    settle,
    turn_angles,
    warp,
)
from leukoscope.datasets.leaks.store import VERSION, load_rows, load_tile, save_rows
from leukoscope.datasets.leaks.tiles import texture

LEAST_SHARED = 600  # pixels of a tile; a smaller scrap of texture agrees with many by chance


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the second cell lies on the first.

    Attributes:
        matrix: float64 [2, 3], takes a pixel of the first tile to the second, mirrored left to right if ``mirror``.
        mirror: the second cell was mirrored.
        middle: correlation inside the overlap of the texture that survives a change of focus, -1 to 1.
        fine: the same for the finest texture, where unrelated cells of one stain and one outline agree least.
        grey: mean absolute difference of the grey levels inside the overlap, 0 to 255.
        overlap: shared area as a part of the smaller cell, 0 to 1.
    """

    matrix: NDArray[np.float64]
    mirror: bool
    middle: float
    fine: float
    grey: float
    overlap: float

    @property
    def score(self) -> float:
        """Mean correlation of both textures: what decides."""
        return (self.middle + self.fine) / 2


def refine(
    first: NDArray[np.uint8], second: NDArray[np.uint8], start: NDArray[np.float64], mirror: bool
) -> Alignment | None:
    """Sharpen a coarse match to a fraction of a pixel (ECC, Evangelidis and Psarakis, PAMI 30, 2008) and judge it.

    Args:
        first: tile, uint8 [S, S].
        second: tile of the other picture.
        start: from `settle`, float64 [2, 3], at half the scale.
        mirror: whether to mirror the second tile first.

    Returns:
        The alignment; None where the two share too little or would have to be distorted, as no camera does.
    """
    other = np.ascontiguousarray(second[:, ::-1]) if mirror else second
    begin = start.copy()
    # Pixel x of the half tile has its middle at 2 x + 1/2 of the tile.
    begin[:, 2] = 2 * start[:, 2] + 0.5 - 0.5 * start[:, :2].sum(axis=1)
    middle_a, weight_a = texture(first, fine=2.0, coarse=8.0, fade=4.0)
    middle_b, weight_b = texture(other, fine=2.0, coarse=8.0, fade=4.0)
    fine_a, _ = texture(first, fine=1.0, coarse=5.0, fade=4.0)
    fine_b, _ = texture(other, fine=1.0, coarse=5.0, fade=4.0)
    layers = (
        (first.astype(np.float32), weight_a, middle_a, fine_a),
        (other.astype(np.float32), weight_b, middle_b, fine_b),
    )
    tries = [_judge(*layers, matrix, mirror) for matrix in _sharpen(middle_a, middle_b, weight_a, begin)]
    return max((found for found in tries if found is not None), key=lambda found: found.score, default=None)


_Stack = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _sharpen(
    first: NDArray[np.float32], second: NDArray[np.float32], weight: NDArray[np.float32], start: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """The start, and what ECC makes of it with turn and shift, and then with a little scale.

    ECC may run away or pull the scale down where a part is missing, hence all stay in the race.
    """
    inside = (weight > 0.5).astype(np.uint8)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    matrices = [start]
    for model in (cv2.MOTION_EUCLIDEAN, cv2.MOTION_AFFINE):
        try:
            begin = matrices[-1].astype(np.float32)
            _, found = cv2.findTransformECC(first, second, begin, model, stop, inside, 3)
        except cv2.error:  # it did not converge
            continue
        matrices.append(np.asarray(found, np.float64))
    return matrices


def _judge(first: _Stack, second: _Stack, matrix: NDArray[np.float64], mirror: bool) -> Alignment | None:
    """Texture inside the overlap under a matrix; None where it distorts or the overlap is too small."""
    scale = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if scale[1] < 0.85 or scale[0] > 1.18 or scale[0] > 1.06 * scale[1]:
        return None
    grey, weight, middle, fine = (warp(layer, matrix) for layer in second)
    shared = (first[1] > 0.9) & (weight > 0.9)
    smaller = min(int((first[1] > 0.9).sum()), int((second[1] > 0.9).sum()))
    if shared.sum() < max(LEAST_OVERLAP * smaller, LEAST_SHARED):
        return None
    return Alignment(
        matrix=matrix,
        mirror=mirror,
        middle=correlation(first[2][shared], middle[shared]),
        fine=correlation(first[3][shared], fine[shared]),
        grey=float(np.abs(first[0][shared] - grey[shared]).mean()),
        overlap=min(float(shared.sum()) / max(smaller, 1), 1.0),
    )


BATCH = 512  # pairs
GATE = 0.5  # unrelated pairs seldom exceed 0.5 at half scale and true ones seldom fall below 0.8


def compare_tiles(
    first: NDArray[np.uint8], second: NDArray[np.uint8], turn: Turn, *, gate: float = GATE
) -> Alignment | None:
    """Lay one tile over another.

    Args:
        first: uint8 [S, S].
        second: uint8 [S, S].
        turn: what brings the second's fingerprint onto the first's: steps and mirror.
        gate: least correlation at half scale for which the alignment is sharpened.
    """
    return _compare(first, second, coarse_layers(first), coarse_layers(second), turn, gate)


def _compare(
    first: NDArray[np.uint8], second: NDArray[np.uint8], a: Layers, b: Layers, turn: Turn, gate: float
) -> Alignment | None:
    coarse, matrix = coarse_match(a, b, turn_angles(turn[0]), turn[1])
    if coarse < 0.8 * gate:
        return None
    settled, matrix = settle(a, b, matrix, turn[1])
    return refine(first, second, matrix, turn[1]) if settled >= gate else None


@lru_cache(maxsize=1024)
def _layers(folder: Path, keys: tuple[str, ...], index: int) -> Layers:
    texture, weight = coarse_layers(load_tile(folder, keys, index))
    return texture, weight


def compare_batch(
    folder: Path, keys: tuple[str, ...], pairs: Sequence[tuple[int, int, int, bool]], gate: float
) -> list[list[float]]:
    """Compare pairs of pictures of a work folder; what is there already is read.

    Args:
        folder: the work folder.
        keys: of its chunks.
        pairs: first, second, steps, mirror.
        gate: as for `compare_tiles`.

    Returns:
        Per pair: middle, fine, grey, overlap, mirror and six numbers of the matrix; empty where there is no alignment.
    """
    key = hashlib.sha256(repr((VERSION, keys, gate, list(pairs))).encode()).hexdigest()[:24]
    rows = load_rows(folder, key)
    if rows is not None and len(rows) == len(pairs):
        return rows
    rows = []
    for i, j, steps, mirror in pairs:
        tiles = load_tile(folder, keys, i), load_tile(folder, keys, j)
        found = _compare(*tiles, _layers(folder, keys, i), _layers(folder, keys, j), (steps, mirror), gate)
        row = [] if found is None else [found.middle, found.fine, found.grey, found.overlap, float(found.mirror)]
        rows.append(row + ([] if found is None else [float(value) for value in found.matrix.ravel()]))
    save_rows(folder, key, rows)
    return rows


def alignment_of(row: Sequence[float]) -> Alignment | None:
    """The alignment that a row of `compare_batch` holds."""
    if not row:
        return None
    matrix = np.array(row[5:11], np.float64).reshape(2, 3)
    return Alignment(matrix, bool(row[4]), row[0], row[1], row[2], row[3])
