"""What PNG and JPEG files tell of their own damage: checksums of parts, and what does not fit into a JPEG's codes.

Pillow looks at neither: it gives pixels of a damaged file as if nothing were wrong with them.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from leukoscope.cells.limits import MAX_PARTS
from leukoscope.errors import PictureError

_REMEDY: Final = "copy or export the picture again"
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # restarts lie within a scan
_ALONE: Final = frozenset({0x01, 0xD8})  # markers without a length
_SCAN, _END, _SEQUENTIAL = 0xDA, 0xD9, frozenset({0xC0, 0xC1, 0xC9})
_DAMAGE: Final = re.compile(r"Corrupt JPEG data|Premature end")  # of libjpeg's warnings, those of lost pixels


def check_png_parts(data: bytes, name: str) -> None:
    """Refuse a PNG of more parts than are read.

    Raises:
        PictureError: it has.
    """
    place = 8
    for _ in range(MAX_PARTS):
        if place + 8 > len(data) or data[place + 4 : place + 8] == b"IDAT":
            return
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    raise _too_many("PNG", name)


def check_png(data: bytes, name: str) -> None:
    """Refuse a PNG that is cut short, or of which a part does not have its checksum (CRC-32).

    Raises:
        PictureError: it is.
    """
    view, place = memoryview(data), 8
    for _ in range(MAX_PARTS):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if end + 4 > len(data):
            raise _damaged("PNG", "its end is missing", name)
        kind = data[place + 4 : place + 8]
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            shown = kind.decode("ascii", "replace") if kind.isalpha() else "without a name"
            raise _damaged("PNG", f"the checksum of its part {shown} is another", name)
        if kind == b"IEND":
            return
        place = end + 4
    raise _too_many("PNG", name)


def jpeg_scans(data: bytes, name: str) -> int:
    """How often a JPEG's scans go over its pixels: their number, 1 where the file is not progressive.

    Raises:
        PictureError: it has more parts than are read.
    """
    place, scans, sequential = 2, 0, False
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            break
        marker = data[found.start() + 1]
        if marker == _END:
            break
        place = found.end()
        if marker in _ALONE:
            continue
        sequential |= marker in _SEQUENTIAL
        scans += marker == _SCAN
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
    else:
        raise _too_many("JPEG", name)
    return min(scans, 4) if sequential else scans


def jpeg_rgb(data: bytes, name: str) -> NDArray[np.uint8] | None:
    """Decode a JPEG of grey values or of three colours as Pillow does, but not a damaged one.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.

    Returns:
        uint8 [H, W, 3]; None where this decoder does not know the file's kind, or its header is damaged.

    Raises:
        PictureError: the codes of its pixels are damaged or cut short.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True))
    except ValueError as error:
        if _DAMAGE.match(str(error)):
            raise _damaged("JPEG", str(error).removeprefix("Corrupt JPEG data: "), name) from None
        return None


def _damaged(kind: str, why: str, name: str) -> PictureError:
    return PictureError(f"the {kind} data are damaged or cut short ({why})", path=name, remedy=_REMEDY)


def _too_many(kind: str, name: str) -> PictureError:
    return PictureError(
        f"the {kind} file has more than {MAX_PARTS:,} parts, the number allowed", path=name, remedy=_REMEDY
    )
