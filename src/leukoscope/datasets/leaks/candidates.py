"""Which pairs of pictures are worth laying over each other: all pairs by fingerprint, in blocks.

Every pair is compared, under all turns in question, by one matrix product per turn and block. Memory is one block
whatever the number of pictures.

A cheap fingerprint of a texture that does not change when the cell is shifted.

The magnitude of the Fourier transform forgets where the cell lies; on a polar grid, a turned cell has a moved
fingerprint and a mirrored one a reversed fingerprint (Reddy and Chatterji, IEEE TIP 5, 1996). Every ring is made to
have mean 0 and variance 1, so a change of focus, which weakens whole rings, leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.progress import SILENT, Progress

RINGS = 16
ANGLES = 36  # over half a turn: the magnitude is the same on both sides
STEP = 180.0 / ANGLES  # degrees


def fingerprint(texture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Polar log-magnitude spectrum of a texture.

    Args:
        texture: float32 [S, S], zero outside the cell; S is 96 in the audit.

    Returns:
        float32 [RINGS, ANGLES], each ring of mean 0 and variance 1 (or all 0, for a blank picture).
    """
    side = texture.shape[0]
    magnitude = np.fft.fftshift(np.abs(np.fft.fft2(texture))).astype(np.float32)
    smooth = cv2.GaussianBlur(np.log1p(magnitude), (0, 0), 0.8)
    # Periods of 24 down to 3.6 pixels: chromatin, neither the outline nor noise.
    radius = (4.0 + 1.5 * np.arange(RINGS))[:, None] * side / 96
    angle = np.deg2rad(np.arange(ANGLES) * STEP)[None, :]
    x = (side // 2 + radius * np.cos(angle)).astype(np.float32)
    y = (side // 2 + radius * np.sin(angle)).astype(np.float32)
    polar = np.asarray(cv2.remap(smooth, x, y, cv2.INTER_LINEAR), np.float32)
    polar = polar - polar.mean(axis=1, keepdims=True)
    spread = polar.std(axis=1, keepdims=True)
    return np.where(spread > 1e-4, polar / np.maximum(spread, 1e-4), 0).astype(np.float32)


def turned(prints: NDArray[np.float32], steps: int, mirror: bool) -> NDArray[np.float32]:
    """Fingerprints of the cells mirrored left to right (if asked), then turned by ``steps`` times `STEP` degrees.

    Args:
        prints: float32 [..., RINGS, ANGLES].
        steps: clockwise on the screen (y points down).
        mirror: whether to mirror first.
    """
    if mirror:
        prints = np.roll(prints[..., ::-1], 1, axis=-1)
    return np.roll(prints, steps, axis=-1)


DIMENSIONS = 128
_FEW = 1000  # below this many pictures, principal axes are neither needed nor well known
_ROWS, _COLUMNS = 512, 8192

Turn = tuple[int, bool]


def near_turns() -> list[Turn]:
    """Quarter turns with and without mirror, each give or take 10 degrees (half turns look alike to a fingerprint)."""
    quarter = ANGLES // 2
    return [(base + d, mirror) for mirror in (False, True) for base in (0, quarter) for d in (-2, -1, 0, 1, 2)]


def all_turns() -> list[Turn]:
    """Any angle, with and without mirror."""
    return [(steps, mirror) for mirror in (False, True) for steps in range(ANGLES)]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs to be looked at.

    Attributes:
        first, second: int64 [P], picture indices, first < second, no pair twice.
        score: float32 [P], cosine of the fingerprints under the best turn.
        turn: int64 [P], index into the list of turns.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score: NDArray[np.float32]
    turn: NDArray[np.int64]


def find_candidates(
    prints: NDArray[np.float32],
    subjects: NDArray[np.int64],
    turns: Sequence[Turn],
    *,
    others: int = 8,
    own: int = 4,
    progress: Progress = SILENT,
) -> Candidates:
    """The most similar pictures of every picture.

    Args:
        prints: float32 [N, RINGS, ANGLES].
        subjects: int64 [N], -1 where the subject is unknown; such a picture counts as a subject of its own.
        turns: the turns to try.
        others: how many pictures of other subjects to propose for each picture.
        own: how many of the same subject.
        progress: shows how many pictures are compared with all.
    """
    total = len(prints)
    known = np.where(subjects >= 0, subjects, -1 - np.arange(total))
    base, variants = _project(prints, turns)
    pairs: list[NDArray[np.int64]] = []
    with progress.stage("comparing all pairs", total) as advance:
        for start in range(0, total, _ROWS):
            rows = np.arange(start, min(start + _ROWS, total))
            best = np.full((len(rows), total), -2.0, np.float32)
            for left in range(0, total, _COLUMNS):
                block = best[:, left : left + _COLUMNS]
                for variant in variants:
                    np.maximum(block, base[rows] @ variant(left, left + _COLUMNS).T, out=block)
            best[np.arange(len(rows)), rows] = -2.0
            same = known[rows][:, None] == known[None, :]
            for chosen, count in ((~same, others), (same, own)):
                pairs.append(_top(np.where(chosen, best, np.float32(-2.0)), rows, count))
            advance(len(rows))
    stacked = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    unique = np.unique(np.sort(stacked, axis=1), axis=0).astype(np.int64)
    return _score(prints, unique, turns)


def _top(scores: NDArray[np.float32], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Index pairs of the ``count`` best columns of every row that hold a score."""
    count = min(count, scores.shape[1])
    columns = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    kept = np.take_along_axis(scores, columns, axis=1) > 0
    return np.stack([np.repeat(rows, count)[kept.ravel()], columns.ravel()[kept.ravel()]], axis=1).astype(np.int64)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, 1e-6), np.float32)


def _project(
    prints: NDArray[np.float32], turns: Sequence[Turn]
) -> tuple[NDArray[np.float32], list[Callable[[int, int], NDArray[np.float32]]]]:
    """Fingerprints on their principal axes, and for every turn a function that gives a slice of the turned ones."""
    total = len(prints)
    flat = prints.reshape(total, -1)
    axes: NDArray[np.float32] | None = None
    if total > _FEW:
        sample = prints[:: max(1, total // 2000)]
        # The axes must serve turned fingerprints as well as upright ones.
        cloud = np.concatenate(
            [turned(sample, s, m).reshape(len(sample), -1) for s, m in turns[:: max(1, len(turns) // 8)]]
        )
        _, vectors = np.linalg.eigh((cloud.T @ cloud).astype(np.float64))
        axes = np.ascontiguousarray(vectors[:, ::-1][:, :DIMENSIONS]).astype(np.float32)

    def place(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return _unit(vectors if axes is None else vectors @ axes)

    def make(turn: Turn) -> Callable[[int, int], NDArray[np.float32]]:
        whole = place(turned(prints, *turn).reshape(total, -1))

        def piece(left: int, right: int) -> NDArray[np.float32]:
            return whole[left:right]

        return piece

    return place(flat), [make(turn) for turn in turns]


def _score(prints: NDArray[np.float32], pairs: NDArray[np.int64], turns: Sequence[Turn]) -> Candidates:
    """Score of given pairs under every turn, with the whole fingerprint, and the best turn."""
    score = np.full(len(pairs), -2.0, np.float32)
    turn = np.zeros(len(pairs), np.int64)
    for start in range(0, len(pairs), 4096):
        part = slice(start, start + 4096)
        base = _unit(prints[pairs[part, 0]].reshape(len(pairs[part]), -1))
        second = prints[pairs[part, 1]]
        for index, (steps, mirror) in enumerate(turns):
            now = np.sum(base * _unit(turned(second, steps, mirror).reshape(len(base), -1)), axis=1)
            better = now > score[part]
            score[part][better] = now[better]
            turn[part][better] = index
    return Candidates(pairs[:, 0], pairs[:, 1], score, turn)
