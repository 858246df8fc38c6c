"""The facts of all pictures of a data set, gathered chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.audit.compare import Run
from leukoscope.data.audit.store import CHUNK, build_chunk, chunk_key, usable


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of N pictures; see `tiles.Tile` for the columns.

    Attributes:
        folder: work folder.
        keys: of its chunks.
        files, pixels: hashes, empty for unreadable pictures.
        errors: why a picture is unreadable, empty for the others.
        prints: float32 [N, RINGS, ANGLES].
        place: float64 [N, 2, 3].
        sizes: int64 [N, 2].
        measures: float64 [N, 9].
        whole: bool [N].
        readable: bool [N].
        lit: bool [N], readable and not blank.
    """

    folder: Path
    keys: tuple[str, ...]
    files: list[str]
    pixels: list[str]
    errors: list[str]
    prints: NDArray[np.float32]
    place: NDArray[np.float64]
    sizes: NDArray[np.int64]
    measures: NDArray[np.float64]
    whole: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    lit: NDArray[np.bool_]


def read_facts(paths: Sequence[Path], folder: Path, run: Run) -> Facts:
    """Read all pictures, or find them read in the work folder.

    Args:
        paths: of the pictures.
        folder: the work folder.
        run: how to share the work.
    """
    chunks = [list(paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    keys = [chunk_key(chunk) for chunk in chunks]
    missing = [(chunk, folder, key) for chunk, key in zip(chunks, keys, strict=True) if not usable(folder, key)]
    run("reading pictures", build_chunk, missing)
    parts = []
    for key in keys:
        with np.load(folder / f"facts-{key}.npz") as part:
            parts.append({name: part[name] for name in part.files})

    def column(name: str) -> NDArray[np.generic]:
        return np.concatenate([part[name] for part in parts])

    errors = [str(text) for text in column("errors")]
    readable = np.array([not error for error in errors])
    measures = column("measures").astype(np.float64)
    return Facts(
        folder=folder,
        keys=tuple(keys),
        files=[str(text) for text in column("files")],
        pixels=[str(text) for text in column("pixels")],
        errors=errors,
        prints=column("prints").astype(np.float32),
        place=column("place").astype(np.float64),
        sizes=column("sizes").astype(np.int64),
        measures=measures,
        whole=column("whole").astype(np.bool_),
        readable=readable,
        lit=readable & (measures[:, 0] > 0),
    )
