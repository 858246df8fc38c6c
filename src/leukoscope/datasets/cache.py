"""Every picture prepared once, as rows of a read-only memory map.

An entry is addressed by content: its key is the SHA-256 over the pictures' own digests in order, the preparation, the
input size and the version of the format. A picture that is edited makes a new entry; a data set that is moved or
renamed does not. Entries are never changed; to free space, delete the folder.

Preparing every picture of a manifest once and writing the frames as one `.npy` file.

SHA-256 of many files, without reading again those that have not changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from leukoscope.cells.frame import Preparation, prepare, resize_frame
from leukoscope.cells.read import read_picture
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.digests import Digests, pixel_digest, pixel_digests
from leukoscope.datasets.pictures import shorten
from leukoscope.errors import DataError, LeukoscopeError, PictureError
from leukoscope.files import (
    atomic_folder,
    read_checked_json,
    sha256_of,
    write_bytes,
    write_checked_json,
    write_json,
)
from leukoscope.machine import cpu_count
from leukoscope.progress import SILENT, Advance, Progress
from leukoscope.threads import in_order


class PictureChangedError(DataError):
    """A picture is not the one that its digest was taken of."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A picture whose bytes are not those that its key was made of."""


#: A frame, uint8 [size, size, 3], and the digest of the picture's pixels.
Made = tuple[NDArray[np.uint8], np.uint64]


def make_frame(path: Path, digest: str | None, preparation: Preparation, size: int) -> Made | str | Changed:
    """One picture as its frame, with the digest of its pixels; or why it cannot be; or `Changed`."""
    try:
        picture = read_picture(path)
        if digest is not None and picture.sha256 != digest:
            return Changed()
        return resize_frame(prepare(picture.rgb, preparation), size), pixel_digest(picture.rgb)
    except PictureError as error:
        return error.what


def write_frames(
    target: Path,
    paths: Sequence[Path],
    digests: Sequence[str | None],
    preparation: Preparation,
    size: int,
    *,
    jobs: int,
    advance: Advance,
    keep_going: bool,
) -> tuple[dict[int, str], Digests]:
    """Write the frames of all readable pictures, in order, as a `.npy` file of uint8 [M, size, size, 3].

    Pictures are decoded by threads: Pillow and OpenCV release the interpreter lock. On two cores two threads prepared
    1.7 times as many pictures a second as one, two processes 1.3 times (their frames have to be copied over).
    Rows are written with plain writes, not through a memory map: a full disk is then an `OSError` and not a killed
    process.

    Args:
        target: the file.
        paths: the pictures.
        digests: their SHA-256, None where unknown.
        preparation: of a frame.
        size: side of the frames in pixels.
        jobs: number of threads.
        advance: called with the number of pictures newly done.
        keep_going: whether frames are still written after an unreadable picture.

    Returns:
        The unreadable pictures: index and reason; and of the others, in order, the digests of their pixels.

    Raises:
        PictureChangedError: a picture changed since its digest was taken.
        OSError: the file cannot be written.
    """
    unreadable: dict[int, str] = {}
    pixels: list[np.uint64] = []
    with target.open("wb") as file:
        _write_header(file, len(paths), size)
        start = file.tell()

        def work(index: int) -> Made | str | Changed:
            return make_frame(paths[index], digests[index], preparation, size)

        for index, made in enumerate(in_order(work, range(len(paths)), jobs)):
            if isinstance(made, Changed):
                raise PictureChangedError(
                    "changed while the cache was built", path=paths[index], remedy="run the command again"
                )
            if isinstance(made, str):
                unreadable[index] = made
            elif keep_going or not unreadable:
                file.write(np.ascontiguousarray(made[0]).data)
                pixels.append(made[1])
            advance(1)
        if unreadable:
            # NumPy pads the header so that the first axis can change its number of digits.
            file.seek(0)
            _write_header(file, len(paths) - len(unreadable), size)
            if file.tell() != start:
                raise DataError("NumPy wrote headers of unlike lengths", path=target)
        file.flush()
        os.fsync(file.fileno())
    return unreadable, np.array(pixels, dtype=np.uint64)


def check_space(folder: Path, needed: int) -> None:
    """Refuse to start what cannot fit.

    Args:
        folder: an existing folder of the disk.
        needed: bytes.

    Raises:
        DataError: the disk has less free space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the frames need {needed / 1e9:,.2f} GB and {free / 1e9:,.2f} GB are free",
            path=folder,
            remedy="free disk space, choose another folder, or limit the number of pictures",
        )


def _write_header(file: IO[bytes], count: int, size: int) -> None:
    head: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, head)


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

    digests = list(in_order(digest, paths, jobs))
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


#: Raised whenever the same pictures would give other frames: a change of reading, framing, CLAHE or resizing.
FORMAT: Final = 1
FRAMES_FILE: Final = "frames.npy"
PIXELS_FILE: Final = "pixels.npy"
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

    def pixels(self, *, jobs: int | None = None) -> Digests:
        """Digests of the pictures' pixels, uint64 [N], as they were decoded for the frames.

        An entry that an earlier version built has none: they are taken from the files once, and kept with it.

        Args:
            jobs: threads for that; None: one for each processor core that this process may use.
        """
        file = self.path / PIXELS_FILE
        try:
            found = np.load(file, allow_pickle=False)
            if found.dtype == np.uint64 and found.shape == (len(self),):
                return np.asarray(found)
        except (OSError, ValueError):
            pass
        found = pixel_digests(self.manifest.paths(), jobs=jobs)
        with suppress(LeukoscopeError):  # a cache that may only be read serves as well
            write_bytes(file, _npy(found))
        return found


def _npy(values: Digests) -> bytes:
    text = io.BytesIO()
    np.save(text, values)
    return text.getvalue()


def open_cache(
    manifest: Manifest,
    preparation: Preparation,
    input_size: int,
    folder: str | PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress = SILENT,
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
        progress: shows how many pictures are done while an entry is built.
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
    progress: Progress,
    on_error: str,
) -> None:
    check_space(entry.parent, len(manifest) * size * size * 3)
    try:
        with atomic_folder(entry) as folder, progress.stage("preparing pictures", len(manifest)) as advance:
            reasons, pixels = write_frames(
                folder / FRAMES_FILE,
                manifest.paths(),
                digests,
                preparation,
                size,
                jobs=jobs,
                advance=advance,
                keep_going=on_error == "skip",
            )
            if reasons and (on_error == "raise" or len(reasons) == len(manifest)):
                raise _unreadable_error(manifest, reasons)
            (folder / PIXELS_FILE).write_bytes(_npy(pixels))
            facts: dict[str, Any] = {
                "format": FORMAT,
                "pictures": len(manifest),
                "input_size": size,
                "preparation": preparation.model_dump(mode="json"),
                "unreadable": [{"index": index, "reason": reason} for index, reason in reasons.items()],
            }
            write_checked_json(folder / FACTS_FILE, facts, [folder / FRAMES_FILE])
    except PictureChangedError:
        forget(entry.parent)  # in case a stale digest was to blame, files are read again next time
        raise


def _load(entry: Path, count: int, size: int) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """Frames and unreadable pictures of an entry; None where there is none or it is damaged."""
    try:
        facts = read_checked_json(entry / FACTS_FILE)  # reads the frames once: a second for each gigabyte
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
