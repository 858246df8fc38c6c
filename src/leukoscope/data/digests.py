"""SHA-256 of many files, without reading again those that have not changed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from leukoscope.data.verify import sha256_of
from leukoscope.errors import LeukoscopeError
from leukoscope.files import write_json

INDEX_FILE: Final = "digests.json"
_SETTLED: Final = 2.0  # seconds: a younger file may change again within one tick of its modification time

Stamp = tuple[int, int]  # size in bytes, modification time in nanoseconds


def digest_files(paths: Sequence[Path], folder: Path, *, jobs: int) -> list[str | None]:
    """SHA-256 of files, kept in an index keyed by path, size and modification time.

    Args:
        paths: the files.
        folder: where the index lies; if it cannot be written there, files are merely read again next time.
        jobs: threads that read files; hashing releases the interpreter lock.

    Returns:
        For each file its digest in hex, or None where it cannot be read.
    """
    known = _read_index(folder)
    fresh: dict[str, tuple[int, int, str]] = {}

    def digest(path: Path) -> str | None:
        name = str(path.resolve())
        try:
            status = path.stat()
            stamp: Stamp = (status.st_size, status.st_mtime_ns)
            held = known.get(name)
            if held is not None and held[:2] == stamp:
                return held[2]
            value = sha256_of(path)
        except (OSError, ValueError):
            return None
        if status.st_mtime < time.time() - _SETTLED:
            fresh[name] = (*stamp, value)
        return value

    with ThreadPoolExecutor(jobs) as pool:
        digests = list(pool.map(digest, paths))
    if fresh:
        with suppress(LeukoscopeError, OSError, Timeout), FileLock(folder / f"{INDEX_FILE}.lock", timeout=30):
            for rest in folder.glob(f".{INDEX_FILE}.*.part"):  # of a process that was killed while it wrote
                rest.unlink()
            write_json(folder / INDEX_FILE, _read_index(folder) | fresh)
    return digests


def forget(folder: Path) -> None:
    """Remove the index, so that every file is read again."""
    with suppress(OSError):
        (folder / INDEX_FILE).unlink()


def _read_index(folder: Path) -> dict[str, tuple[int, int, str]]:
    try:
        raw = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        return {str(name): (int(size), int(mtime), str(digest)) for name, (size, mtime, digest) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # absent or damaged: it is only a shortcut
        return {}
