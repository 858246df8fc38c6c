"""What decoding one picture may cost; each limit is checked before the work, or while it is done, and named when told.

Without limits a file of some kilobytes can keep a decoder busy for minutes, or take all memory. What no limit bounds
beforehand is left to a process of its own, which can be ended: see `decoder`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from leukoscope.errors import PictureError

MAX_PIXELS: Final = 100_000_000
MAX_BYTES: Final = 2**30  # of a file, 1 GiB; a picture of MAX_PIXELS has a third of that uncompressed
MAX_SIDE: Final = 65_535  # as JPEG has it: decoders keep notes of each line
MAX_PARTS: Final = 100_000  # chunks of a PNG, segments of a JPEG: each is a step in Python
MAX_SCANS: Final = 100  # of a progressive JPEG: each goes over all pixels again
MAX_HERE: Final = 40_000_000  # pixels that this process decodes itself, those of each scan counted; a camera's have 36
SECONDS_VARIABLE: Final = "LEUKOSCOPE_DECODE_SECONDS"
_SECONDS: Final = 20.0


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuse a picture that is too large.

    Args:
        size: width and height.
        name: what to call the picture.
        max_pixels: bound on their product.

    Raises:
        PictureError: it has more pixels, or a longer side than `MAX_SIDE`.
    """
    width, height = size
    if width > 0 and height > 0 and width * height <= max_pixels:
        IN_WORK.take(width * height)
    if width * height > max_pixels:
        raise PictureError(
            f"has {width} x {height} pixels, more than the {max_pixels:,} allowed", path=name,
            remedy="crop the picture, or allow more with --max-pixels",
        )  # fmt: skip
    if max(width, height) > MAX_SIDE:
        raise PictureError(
            f"has {width} x {height} pixels, and sides of {MAX_SIDE:,} are the longest allowed", path=name,
            remedy="crop the picture",
        )  # fmt: skip


class Costly(Exception):  # noqa: N818  (never leaves the reader)
    """A picture whose decoding takes long or much, or cannot be bounded: another process is to do it."""


class _Alone:
    """Whether this process decodes one picture, and is ended when that takes too long."""

    here = False


def decode_alone() -> None:
    """Leave no picture to another process from now on: this is the one."""
    _Alone.here = True


def check_cost(pixels: float) -> None:
    """Leave a picture to a process that can be ended where it costs too much to be decoded here.

    Args:
        pixels: gone over by its decoder, of 3 bytes each; infinite where nothing bounds them.

    Raises:
        Costly: it does.
    """
    if pixels > MAX_HERE and not _Alone.here:
        raise Costly


def check_passes(scans: int, size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuse a JPEG whose scans go over its pixels so often that decoding takes long.

    Args:
        scans: how many the file has; encoders write 1 to about 20.
        size: width and height.
        name: what to call the picture.
        max_pixels: bound on pixels; ten times as many may be gone over.

    Raises:
        PictureError: there are too many.
        Costly: there are so many that another process is to decode them.
    """
    most = min(MAX_SCANS, max(1, 10 * max_pixels // max(size[0] * size[1], 1)))
    if scans > most:
        raise PictureError(
            f"has {scans:,} scans of {size[0]} x {size[1]} pixels, more than the {most} allowed", path=name,
            remedy="save it as a JPEG that is not progressive",
        )  # fmt: skip
    check_cost(scans * size[0] * size[1])


class Room:
    """Room for pictures in work: threads that would need more wait, so that memory does not grow with their number.

    Args:
        pixels: that find room together; a picture of more has it to itself.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._taken = 0
        self._free = threading.Condition()
        self._here = threading.local()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Work on one picture in this thread; the room that it takes meanwhile is free again afterwards."""
        self._here.pixels = 0
        try:
            yield
        finally:
            with self._free:
                self._taken -= self._here.pixels
                self._free.notify_all()
            del self._here.pixels

    def take(self, pixels: int) -> None:
        """Wait for room for this thread's picture, once it is known how large it is; outside of a turn do nothing."""
        if getattr(self._here, "pixels", None) != 0:
            return
        with self._free:
            self._free.wait_for(lambda: self._taken == 0 or self._taken + pixels <= self.pixels)
            self._taken += pixels
        self._here.pixels = pixels


#: Of a process: two of the largest pictures, or five of a camera's 36 million pixels, each of which takes 11 to 15
#: bytes a pixel while it is decoded and its cells are found.
IN_WORK: Final = Room(2 * MAX_PIXELS)


def decode_seconds() -> float:
    """Seconds of a processor that decoding one picture may take."""
    try:
        found = float(os.environ.get(SECONDS_VARIABLE, "") or _SECONDS)
    except ValueError:
        return _SECONDS
    return found if 0 < found < math.inf else _SECONDS


def too_slow(name: str, seconds: float) -> PictureError:
    """The error for a picture that takes longer to decode than it may."""
    more = f"{3 * seconds:g}"
    return PictureError(
        f"takes more than {seconds:g} s to decode, the time allowed", path=name,
        remedy=f"export the picture again, or allow more with leukoscope --decode-seconds {more}, "
        f"or {SECONDS_VARIABLE}={more}",
    )  # fmt: skip


class Deadline:
    """Time of this thread's processor that decoding one picture may take; a busy machine does not shorten it.

    Args:
        name: what to call the picture.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._seconds = decode_seconds()
        self._end = time.thread_time() + self._seconds

    def check(self) -> None:
        """Raise where the time is over.

        Raises:
            PictureError: it is.
        """
        if time.thread_time() > self._end:
            raise too_slow(self.name, self._seconds)
