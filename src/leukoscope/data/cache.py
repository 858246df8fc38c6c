"""Every picture prepared once, as rows of a read-only memory map.

An entry is addressed by content: its key is the SHA-256 over the pictures' own digests in order, the preparation, the
input size and the version of the format. A picture that is edited makes a new entry; a data set that is moved or
renamed does not. Entries are never changed; to free space, delete the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from leukoscope.cells.prepare import Preparation
from leukoscope.data.building import PictureChangedError, Progress, check_space, write_frames
from leukoscope.data.digests import digest_files, forget
from leukoscope.data.manifest import Manifest
from leukoscope.data.readers.pictures import shorten
from leukoscope.errors import DataError
from leukoscope.files import atomic_folder, write_json
from leukoscope.machine import cpu_count

#: Raised whenever the same pictures would give other frames: a change of reading, framing, CLAHE or resizing.
FORMAT: Final = 1
FRAMES_FILE: Final = "frames.npy"
FACTS_FILE: Final = "entry.json"
_KEY_LENGTH: Final = 32  # hex digits of the SHA-256
_PART: Final = re.compile(rf"\.([0-9a-f]{{{_KEY_LENGTH}}})\.")  # an entry that is being built


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that was skipped: its path relative to the manifest's root, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class FrameCache:
    """Prepared frames.

    Attributes:
        manifest: the pictures that the frames are of; those given, less what is in ``unreadable``.
        frames: read-only memory map, uint8 [N, S, S, 3]; row i is record i of ``manifest``.
        path: folder of the entry.
        unreadable: what was skipped.
    """

    manifest: Manifest
    frames: NDArray[np.uint8]
    path: Path
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.manifest)


def open_cache(
    manifest: Manifest,
    preparation: Preparation,
    input_size: int,
    folder: str | PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> FrameCache:
    """Open the frames of a manifest, building them first if they are not there.

    Processes that want the same entry build it once: the others wait and use it.

    Args:
        manifest: the pictures.
        preparation: of a frame.
        input_size: side of the cached frames in pixels, to which prepared frames are resized.
        folder: where entries lie; made if absent.
        jobs: threads; None: one for each processor core that this process may use.
        progress: called with (pictures done, pictures) while an entry is built.
        on_error: `raise` lists unreadable pictures in one error; `skip` leaves them out: see `FrameCache.manifest`.

    Raises:
        DataError: unreadable pictures, no pictures, too little free space, or a picture that changed meanwhile.
        LeukoscopeError: the folder cannot be written or the disk is full.
    """
    if len(manifest) == 0:
        raise DataError("there are no pictures to prepare", path=manifest.root)
    if not 1 <= input_size <= 4096:
        raise DataError(f"frames of {input_size} pixels cannot be made", remedy="give a size between 1 and 4096")
    place, jobs = Path(folder), jobs or cpu_count()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot be made a folder ({error.strerror or error})", path=place) from error
    digests = digest_files(manifest.paths(), place, jobs=jobs)
    key = cache_key(digests, preparation, input_size)
    found = _load(place / key, len(manifest), input_size)
    if found is None:
        with FileLock(place / f"{key}.lock"):
            found = _load(place / key, len(manifest), input_size)  # another process may have built it meanwhile
            if found is None:
                _sweep(place, key)
                _build(manifest, digests, preparation, input_size, place / key, jobs, progress, on_error)
                found = _load(place / key, len(manifest), input_size)
    if found is None:
        raise DataError("the cache entry cannot be read back", path=place / key, remedy="delete it and run again")
    frames, reasons = found
    if reasons and on_error == "raise":
        raise _unreadable_error(manifest, reasons)
    skipped = tuple(Unreadable(manifest.records[index].path, reason) for index, reason in reasons.items())
    kept = [index for index in range(len(manifest)) if index not in reasons]
    return FrameCache(manifest if not reasons else manifest.select(kept), frames, place / key, skipped)


def cache_key(digests: Sequence[str | None], preparation: Preparation, input_size: int) -> str:
    """Name of an entry: 32 hex digits of the SHA-256 over all that decides its bytes."""
    facts = [FORMAT, preparation.model_dump(mode="json"), input_size, list(digests)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]


def _build(
    manifest: Manifest,
    digests: Sequence[str | None],
    preparation: Preparation,
    size: int,
    entry: Path,
    jobs: int,
    progress: Progress | None,
    on_error: str,
) -> None:
    check_space(entry.parent, len(manifest) * size * size * 3)
    try:
        with atomic_folder(entry) as folder:
            reasons = write_frames(
                folder / FRAMES_FILE,
                manifest.paths(),
                digests,
                preparation,
                size,
                jobs=jobs,
                progress=progress,
                keep_going=on_error == "skip",
            )
            if reasons and (on_error == "raise" or len(reasons) == len(manifest)):
                raise _unreadable_error(manifest, reasons)
            facts: dict[str, Any] = {
                "format": FORMAT,
                "pictures": len(manifest),
                "input_size": size,
                "preparation": preparation.model_dump(mode="json"),
                "unreadable": [{"index": index, "reason": reason} for index, reason in reasons.items()],
            }
            write_json(folder / FACTS_FILE, facts)
    except PictureChangedError:
        forget(entry.parent)  # in case a stale digest was to blame, files are read again next time
        raise


def _load(entry: Path, count: int, size: int) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """Frames and unreadable pictures of an entry; None where there is none or it is damaged."""
    try:
        facts = json.loads((entry / FACTS_FILE).read_text(encoding="utf-8"))
        reasons = {int(item["index"]): str(item["reason"]) for item in facts["unreadable"]}
        frames = np.load(entry / FRAMES_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if frames.dtype != np.uint8 or frames.shape != (count - len(reasons), size, size, 3):
        return None
    return frames, reasons


def _sweep(folder: Path, key: str) -> None:
    """Remove what killed builds left: of this entry, and of others that nobody is building now."""
    for rest in folder.glob(".*.part"):
        if (named := _PART.match(rest.name)) is None or not rest.is_dir():
            continue  # what others build in this folder has locks of its own
        other = named[1]
        if other == key:
            shutil.rmtree(rest, ignore_errors=True)
        else:
            with suppress(Timeout, OSError), FileLock(folder / f"{other}.lock", timeout=0):
                shutil.rmtree(rest, ignore_errors=True)


def _unreadable_error(manifest: Manifest, reasons: dict[int, str]) -> DataError:
    named = [f"{manifest.records[index].path} ({reason})" for index, reason in reasons.items()]
    return DataError(
        f"{len(reasons)} of {len(manifest)} pictures cannot be used: {shorten(named)}",
        path=manifest.root,
        remedy="replace or remove them, or ask to skip unreadable pictures",
    )
