"""The directories of a TIFF file: its pages and the values of their tags (TIFF 6.0; BigTIFF; EXIF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from leukoscope.cells.tiff_segments import Damaged
from leukoscope.errors import PictureError

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES: Final = {
    1: "B", 3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
_RATIONAL = 5  # two whole numbers
_MOST_PAGES = 1000
_MOST_TAGS = 100_000  # of all pages
_MOST_NUMBERS = 4_000_000  # in the tags of all pages; a picture of a hundred million pixels in strips has 200,000
_MOST_BYTES = 2**26  # in them
_WIDTH, _LENGTH, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_GREY, _RGB = 1, 2
_EXPORT = "export the picture as 8-bit RGB"


@dataclass(frozen=True)
class TiffPage:
    """One picture of the file: the values of its tags, and what follows from them."""

    tags: dict[int, tuple[Any, ...]]
    order: Literal["<", ">"]

    def one(self, tag: int, default: int = 0) -> int:
        """The first whole number of a tag.

        Raises:
            Damaged: it has another kind of value.
        """
        values = self.tags.get(tag)
        if not values:
            return default
        if not isinstance(values[0], int):
            raise Damaged(f"tag {tag} is no whole number")
        return values[0]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.one(_WIDTH), self.one(_LENGTH)

    @property
    def area(self) -> int:
        """Pixels."""
        return self.size[0] * self.size[1]

    @cached_property
    def bands(self) -> int:
        """Samples of a pixel."""
        return self.one(277, 1)

    @cached_property
    def bits(self) -> int:
        """Of a sample, the first band's."""
        return self.one(_BITS, 1)

    @cached_property
    def colours(self) -> int:
        """What the samples mean, as PhotometricInterpretation has it."""
        return self.one(_PHOTOMETRIC, _RGB if self.bands >= 3 else _GREY)

    def ratio(self, tag: int) -> float | None:
        """The number of a tag that holds a fraction; None where it holds none."""
        values = self.tags.get(tag, ())
        return values[0] / values[1] if len(values) == 2 and values[1] else None

    @property
    def is_lesser(self) -> bool:
        """Whether the file says that this is a reduced form of another page, or a mask."""
        return bool(self.one(254) & 5) or self.one(255) == 2

    @cached_property
    def description(self) -> str:
        """What the page says of itself; empty where nothing."""
        value = self.tags.get(270, ("",))[0]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def exif_orientation(block: bytes) -> int | None:
    """Orientation that an EXIF block states, 1 to 8; None where it states none, or is damaged.

    An EXIF block is a TIFF file without pixels, behind an optional `Exif`.
    """
    data = block.removeprefix(b"Exif\0\0")
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        order = _order(data)
        budget = _Budget("EXIF block")
        page, _ = _page(data, struct.unpack_from(f"{order}I", data, 4)[0], order, budget, big=False)
        found = page.one(274)
    except (Damaged, struct.error, OverflowError, PictureError):
        return None
    return found if 1 <= found <= 8 else None


class _Budget:
    """What the directories of a file may hold: a chain of them can list the same megabytes again and again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spent = [0, 0, 0]

    def spend(self, tags: int = 0, numbers: int = 0, octets: int = 0) -> None:
        """Count; raise where it is too much.

        Raises:
            PictureError: it is.
        """
        self._spent = [old + new for old, new in zip(self._spent, (tags, numbers, octets), strict=True)]
        limits = ((_MOST_TAGS, "tags"), (_MOST_NUMBERS, "numbers in its tags"), (_MOST_BYTES, "bytes in its tags"))
        for spent, (bound, what) in zip(self._spent, limits, strict=True):
            if spent > bound:
                raise PictureError(
                    f"the TIFF file has more than {bound:,} {what}, the number allowed", path=self._name, remedy=_EXPORT
                )


def tiff_pages(data: bytes, name: str) -> list[TiffPage]:
    """All pages in the order of the file; a chain that bites its tail ends there.

    Args:
        data: the bytes of the file, which begins as a TIFF does.
        name: what to call the picture in errors.

    Raises:
        PictureError: its tags hold more than is read.
        struct.error: the first directory is cut short.
    """
    order = _order(data)
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    offset = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)[0]
    pages: list[TiffPage] = []
    seen: set[int] = set()
    budget = _Budget(name)
    while offset and offset not in seen and len(pages) < _MOST_PAGES:
        seen.add(offset)
        try:
            page, offset = _page(data, offset, order, budget, big)
        except struct.error:
            if not pages:
                raise
            break  # the pages so far are whole
        pages.append(page)
    return pages


def _order(data: bytes) -> Literal["<", ">"]:
    return "<" if data[:2] == b"II" else ">"


def _page(data: bytes, offset: int, order: Literal["<", ">"], budget: _Budget, big: bool) -> tuple[TiffPage, int]:
    count = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, offset)[0]
    entry, start = (20, offset + 8) if big else (12, offset + 2)
    if count > 4096 or start + count * entry > len(data):
        raise struct.error("the list of tags is cut short")
    budget.spend(tags=count)
    tags: dict[int, tuple[Any, ...]] = {}
    for place in range(start, start + count * entry, entry):
        tag, kind, number = struct.unpack_from(f"{order}HHQ" if big else f"{order}HHI", data, place)
        length = _SIZES.get(kind, 0) * number
        value = place + (12 if big else 8)
        if length > (8 if big else 4):
            value = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, value)[0]
        if not length or value + length > len(data):
            continue  # a tag that cannot be read is as good as none
        budget.spend(numbers=number if kind in _CODES else 0, octets=length)
        if kind in _CODES:
            whole = 2 * number if kind == _RATIONAL else number
            tags[tag] = struct.unpack_from(f"{order}{whole}{_CODES[kind]}", data, value)
        else:
            tags[tag] = (data[value : value + length].split(b"\0")[0] if kind == 2 else data[value : value + length],)
    after = start + count * entry
    following = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, after)[0] if after + 4 <= len(data) else 0
    return TiffPage(tags, order), following
