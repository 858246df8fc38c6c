"""The pictures that a model was trained on, known again by their pixels under any name.

A picture is told by the first 64 bits of the SHA-256 of its size and its decoded RGB levels: a renamed or converted
copy (BMP to PNG) is the same, a lossily re-encoded one is not. Of a million new pictures, one is taken for one of ten
thousand learned ones by chance with probability 5e-10.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import read_picture
from leukoscope.errors import LeukoscopeError
from leukoscope.machine import cpu_count
from leukoscope.threads import in_order

Digests = NDArray[np.uint64]
UNREADABLE = np.uint64(0)  # no picture's digest, but by a chance of 5e-20


def pixel_digest(rgb: NDArray[np.uint8]) -> np.uint64:
    """Digest of a picture's pixels, uint8 [H, W, 3]."""
    head = f"{rgb.shape[0]}x{rgb.shape[1]}:".encode()
    content = hashlib.sha256(head + np.ascontiguousarray(rgb).tobytes()).digest()
    return np.uint64(int.from_bytes(content[:8], "big"))


def pixel_digests(paths: Iterable[Path], *, jobs: int | None = None) -> Digests:
    """Digests of picture files, uint64 [N]; `UNREADABLE` for one that cannot be decoded: whoever asks it lists it.

    Args:
        paths: N files.
        jobs: threads; None: one for each processor core that this process may use.
    """

    def digest(path: Path) -> np.uint64:
        try:
            return pixel_digest(read_picture(path).rgb)
        except LeukoscopeError:
            return UNREADABLE

    return np.fromiter(in_order(digest, paths, jobs or cpu_count()), dtype=np.uint64)


def packed(digests: Digests) -> str:
    """Distinct digests as text: base64 of sorted little-endian numbers of 64 bits.

    >>> unpacked(packed(np.array([7, 5, 7, 0], dtype=np.uint64))).tolist()
    [5, 7]
    """
    kept = np.unique(digests[digests != UNREADABLE])
    return base64.b64encode(kept.astype("<u8").tobytes()).decode("ascii")


def unpacked(text: str) -> Digests:
    """The digests of ``packed``, sorted.

    Raises:
        ValueError: the text is none.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("digests of pictures are base64") from error
    if len(content) % 8:
        raise ValueError("digests of pictures have 8 bytes each")
    return np.frombuffer(content, "<u8").astype(np.uint64)
