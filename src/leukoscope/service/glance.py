"""Whether a picture that came in can be decoded; all that the process which looks at them loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2

from leukoscope.cells.read import decode, kind_of
from leukoscope.errors import PictureError
from leukoscope.service.answers import Looked

_MEDIA: Final = {
    "BMP": "image/bmp", "PNG": "image/png", "JPEG": "image/jpeg", "TIFF": "image/tiff", "WebP": "image/webp",
}  # fmt: skip


def decoded_all(paths: Sequence[str], max_pixels: int) -> list[Looked | PictureError]:
    """See `answers.look`."""
    found: list[Looked | PictureError] = []
    for path in paths:
        try:
            found.append(_decoded(path, max_pixels))
        except PictureError as error:
            found.append(error)
    return found


def _decoded(path: str, max_pixels: int) -> Looked:
    data = Path(path).read_bytes()
    try:
        rgb = decode(data, name="the picture", max_pixels=max_pixels)
    except (OSError, ValueError, MemoryError, cv2.error, SyntaxError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"cannot be decoded ({type(error).__name__})", remedy="export the picture again") from None
    return Looked(_MEDIA.get(kind_of(data) or "", "application/octet-stream"), rgb.shape[1], rgb.shape[0])
