"""The work folder of an audit: what was computed once stays, so that a killed audit goes on where it was.

The facts of all pictures of a data set, gathered chunk by chunk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.leaks.candidates import ANGLES, RINGS, fingerprint
from leukoscope.datasets.leaks.coarse import coarse_layers
from leukoscope.datasets.leaks.tiles import MEASURES, TILE_SIDE, read_tile
from leukoscope.errors import PictureError
from leukoscope.files import atomic_path, write_json
from leukoscope.workers import Run

CHUNK = 256  # pictures
TILE_VERSION = 1  # raise it when a tile or fingerprint changes
VERSION = 3  # raise it when an alignment changes


def chunk_key(paths: Sequence[Path]) -> str:
    """Key of a chunk of pictures: it changes with any path, size or time of change, and with this code's version."""
    digest = hashlib.sha256(f"tiles {TILE_VERSION}".encode())
    for path in paths:
        try:
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except (OSError, ValueError):
            digest.update(f"{path}\0missing\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]


def build_chunk(paths: Sequence[Path], folder: Path, key: str) -> None:
    """Read one chunk of pictures into ``folder``, unless it is there already.

    Two files are written, each in one step, the second last: ``tiles-KEY.npy``, uint8 [n, S, S], and
    ``facts-KEY.npz`` with hashes, places, measures, fingerprints and errors.
    """
    facts = folder / f"facts-{key}.npz"
    if facts.exists():
        return
    count = len(paths)
    tiles = np.zeros((count, TILE_SIDE, TILE_SIDE), np.uint8)
    prints = np.zeros((count, RINGS, ANGLES), np.float32)
    place, sizes = np.zeros((count, 2, 3)), np.zeros((count, 2), np.int64)
    measures, whole = np.zeros((count, len(MEASURES))), np.zeros(count, np.bool_)
    files, pixels, errors = ["" for _ in paths], ["" for _ in paths], ["" for _ in paths]
    for i, path in enumerate(paths):
        try:
            tile = read_tile(path)
        except PictureError as error:
            errors[i] = error.what
            continue
        tiles[i], place[i], sizes[i], whole[i] = tile.grey, tile.place, tile.size, tile.whole
        measures[i], files[i], pixels[i] = tile.measures, tile.file_sha256, tile.pixel_sha256
        if tile.grey.any():
            prints[i] = fingerprint(coarse_layers(tile.grey)[0])
    with atomic_path(folder / f"tiles-{key}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, tiles)
    with atomic_path(facts) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            prints=prints.astype(np.float16),
            place=place,
            sizes=sizes,
            measures=measures,
            whole=whole,
            files=np.array(files, dtype=np.str_),
            pixels=np.array(pixels, dtype=np.str_),
            errors=np.array(errors, dtype=np.str_),
        )


@lru_cache(maxsize=64)
def _tiles(folder: Path, key: str) -> NDArray[np.uint8]:
    return np.asarray(np.load(folder / f"tiles-{key}.npy", mmap_mode="r"))


def load_tile(folder: Path, keys: Sequence[str], index: int) -> NDArray[np.uint8]:
    """Tile of one picture, uint8 [S, S]."""
    return np.array(_tiles(folder, keys[index // CHUNK])[index % CHUNK])


def save_rows(folder: Path, key: str, rows: Sequence[Sequence[float]]) -> None:
    """Keep the outcome of a batch of alignments."""
    write_json(folder / f"pairs-{key}.json", [list(row) for row in rows])


def load_rows(folder: Path, key: str) -> list[list[float]] | None:
    """What `save_rows` kept, or None; a damaged file counts as none."""
    path = folder / f"pairs-{key}.json"
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return rows if isinstance(rows, list) else None


def usable(folder: Path, key: str) -> bool:
    """Whether a chunk is there and whole; a damaged one is removed."""
    try:
        with np.load(folder / f"facts-{key}.npz") as facts:
            count = len(facts["errors"])
        return len(np.load(folder / f"tiles-{key}.npy", mmap_mode="r")) == count
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, EOFError):
        for name in (f"facts-{key}.npz", f"tiles-{key}.npy"):
            if (folder / name).exists():
                (folder / name).unlink()
        return False


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
