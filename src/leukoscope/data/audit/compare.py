"""Comparing candidate pairs, in batches that workers can share and a work folder can keep."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.data.audit.align import Alignment, refine
from leukoscope.data.audit.candidates import Turn
from leukoscope.data.audit.coarse import Layers, coarse_layers, coarse_match, settle, turn_angles
from leukoscope.data.audit.store import VERSION, load_rows, load_tile, save_rows

BATCH = 512  # pairs
GATE = 0.5  # unrelated pairs seldom exceed 0.5 at half scale and true ones seldom fall below 0.8
Progress = Callable[[str, int, int], None]


class Run(Protocol):
    """Runs a function over many arguments and gives the outcomes in their order."""

    def __call__(self, stage: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run ``function`` once per entry of ``calls``."""


def _start() -> None:
    """Set a worker up: one thread, and an end when the process that started it is killed."""
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def workers(jobs: int, progress: Progress | None) -> Iterator[Run]:
    """Processes that share the work; with one job, the work is done in this process.

    Args:
        jobs: number of processes.
        progress: called with the stage, the calls done and the calls in all.
    """
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start) if jobs > 1 else None

    def run(stage: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        results: list[Any] = [None] * len(calls)
        if progress and calls:
            progress(stage, 0, len(calls))
        if pool is None:
            for number, call in enumerate(calls):
                results[number] = function(*call)
                if progress:
                    progress(stage, number + 1, len(calls))
            return results
        waiting: dict[Future[Any], int] = {pool.submit(function, *call): n for n, call in enumerate(calls)}
        for done, future in enumerate(as_completed(waiting), 1):
            results[waiting[future]] = future.result()
            if progress:
                progress(stage, done, len(calls))
        return results

    try:
        yield run
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


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
