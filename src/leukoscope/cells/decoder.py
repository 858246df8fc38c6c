"""Decoding in a process of its own, for pictures that take long or much, or whose decoder nothing bounds.

It is started with the first such picture, serves one at a time, and stays until this process ends.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.limits import decode_alone, decode_seconds, too_slow
from leukoscope.child import Bounds, Child, ChildEndedError
from leukoscope.errors import PictureError

_PROGRAM: Final = 2**30  # address space of interpreter and libraries
_PIXEL: Final = 24  # bytes for each pixel allowed; RGBA composited on black takes 20
_PATIENCE: Final = 3  # wall clock over processor time, for a machine that does other work

Decode = Callable[[bytes, str, int], NDArray[np.uint8]]


def decode_apart(decode: Decode, data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a picture in another process, which is ended when it takes too long.

    Args:
        decode: a function of a module: of the bytes, the name and ``max_pixels``.
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height, which bounds the memory too.

    Returns:
        uint8 [H, W, 3].

    Raises:
        PictureError: it cannot be decoded, or not within time and memory; or the decoder crashed.
    """
    seconds = decode_seconds()
    bounds = Bounds(_PATIENCE * seconds, _PROGRAM + _PIXEL * max_pixels, seconds)
    try:
        return _child(bounds).call(_decode_alone, decode, pickle.PickleBuffer(data), name, max_pixels)
    except ChildEndedError as error:
        if error.late:
            raise too_slow(name, seconds) from error
        raise PictureError("the decoder crashed on it", path=name, remedy="copy or export the picture again") from error
    except MemoryError as error:
        raise PictureError(
            f"needs more than {bounds.memory or 0:,} bytes to decode, the memory allowed", path=name,
            remedy="crop the picture, or allow more with --max-pixels",
        ) from error  # fmt: skip


def _decode_alone(decode: Decode, data: pickle.PickleBuffer, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """In the other process."""
    decode_alone()
    cv2.setNumThreads(1)
    try:
        return decode(bytes(data), name, max_pixels)
    except PictureError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        raise


class _Decoder:
    """The process that this one left pictures to, with the bounds that it was started with."""

    lock = threading.Lock()
    child: Child | None = None


def _child(bounds: Bounds) -> Child:
    with _Decoder.lock:
        if _Decoder.child is None or _Decoder.child.bounds != bounds:
            if _Decoder.child is not None:
                _Decoder.child.close()
            _Decoder.child = Child(bounds)
        return _Decoder.child
