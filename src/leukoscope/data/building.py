"""Preparing every picture of a manifest once and writing the frames as one `.npy` file."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import resize_frame
from leukoscope.cells.prepare import Preparation, prepare
from leukoscope.cells.read import read_picture
from leukoscope.errors import DataError, PictureError

Progress = Callable[[int, int], None]


class PictureChangedError(DataError):
    """A picture is not the one that its digest was taken of."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A picture whose bytes are not those that its key was made of."""


def make_frame(
    path: Path, digest: str | None, preparation: Preparation, size: int
) -> NDArray[np.uint8] | str | Changed:
    """One picture as its frame, uint8 [size, size, 3]; or why it cannot be; or `Changed`."""
    try:
        picture = read_picture(path)
        if digest is not None and picture.sha256 != digest:
            return Changed()
        return resize_frame(prepare(picture.rgb, preparation), size)
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
    progress: Progress | None,
    keep_going: bool,
) -> dict[int, str]:
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
        progress: called with (pictures done, pictures).
        keep_going: whether frames are still written after an unreadable picture.

    Returns:
        The unreadable pictures: index and reason.

    Raises:
        PictureChangedError: a picture changed since its digest was taken.
        OSError: the file cannot be written.
    """
    unreadable: dict[int, str] = {}
    with target.open("wb") as file:
        _write_header(file, len(paths), size)
        start = file.tell()

        def work(index: int) -> NDArray[np.uint8] | str | Changed:
            return make_frame(paths[index], digests[index], preparation, size)

        for index, frame in enumerate(_in_order(work, len(paths), jobs)):
            if isinstance(frame, Changed):
                raise PictureChangedError(
                    "changed while the cache was built", path=paths[index], remedy="run the command again"
                )
            if isinstance(frame, str):
                unreadable[index] = frame
            elif keep_going or not unreadable:
                file.write(np.ascontiguousarray(frame).data)
            if progress is not None:
                progress(index + 1, len(paths))
        if unreadable:
            # NumPy pads the header so that the first axis can change its number of digits.
            file.seek(0)
            _write_header(file, len(paths) - len(unreadable), size)
            if file.tell() != start:
                raise DataError("NumPy wrote headers of unlike lengths", path=target)
        file.flush()
        os.fsync(file.fileno())
    return unreadable


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


def _in_order(
    work: Callable[[int], NDArray[np.uint8] | str | Changed], count: int, jobs: int
) -> Iterator[NDArray[np.uint8] | str | Changed]:
    """Results in order, with only a few waiting, so that memory stays small when the disk is the slower side."""
    waiting: deque[Future[NDArray[np.uint8] | str | Changed]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for index in range(count):
                waiting.append(pool.submit(work, index))
                if len(waiting) >= 4 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
