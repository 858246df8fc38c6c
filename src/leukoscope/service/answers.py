"""The seam to the rest of the house: pictures go in as paths, answers come out as plain values.

What stands here runs in a `children.Child`, and only there is anything loaded that decodes pictures or runs a graph:
the server itself stays small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from leukoscope.errors import PictureError

TILE: Final = 512  # pixels of a side
SMALL: Final = 170  # pixels of a side of a small cell


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture that can be read: its type and its size in pixels."""

    media: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class AskedCell:
    """What a bundle says of one cell.

    Attributes:
        number: in its picture, from 1; ``box`` x, y, width and height there, None for a cell on black.
        logit, probability: None where the graph was not asked.
        decision, reason, gate: as `inference` states them.
        doubt: how probable it is, by the bundle's own probability, that a reader calls it otherwise; 0.5 where the
            probability means nothing.
        embedding: float16 as bytes; None where not asked.
    """

    number: int
    box: tuple[int, int, int, int] | None
    logit: float | None
    probability: float | None
    decision: str
    reason: str | None
    gate: str
    doubt: float
    embedding: bytes | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a bundle says of one picture: its cells, or why there are none. ``kind``: cell, crop, field, none."""

    kind: str
    um_per_px: float | None
    warnings: tuple[str, ...]
    cells: tuple[AskedCell, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that the viewer shows.

    Attributes:
        path: of the field, or of the slide's file.
        slide: which of both.
        thumbnail: a small picture of a slide, where there is one.
    """

    path: str
    slide: bool = False
    thumbnail: str | None = None


@dataclass(frozen=True, slots=True)
class SlideWindow:
    """A window of a slide, as `leukoscope slide` read it.

    Attributes:
        path: of the slide's file.
        box: x, y, width, height in pixels of the full level.
        um_per_px: of the full level.
        red_cell_um, stain: as they were given.
    """

    path: str
    box: tuple[int, int, int, int]
    um_per_px: float
    red_cell_um: float
    stain: str


Boxes = Sequence[tuple[int, tuple[int, int, int, int]]]


def zooms(width: int, height: int) -> int:
    """How many zooms a picture has: at 0 one tile shows it whole, and each further one twice as large.

    >>> zooms(512, 300), zooms(513, 300), zooms(98304, 81920)
    (1, 2, 9)
    """
    return 1 + max(0, math.ceil(math.log2(max(width, height) / TILE)))


def doubt_of(probability: float | None, gate: str, threshold: float) -> float:
    """How probable it is, by the bundle's own probability, that a reader calls a cell otherwise.

    >>> doubt_of(0.75, "passed", 0.5), doubt_of(0.2, "passed", 0.5), doubt_of(0.2, "turned down", 0.5)
    (0.25, 0.2, 0.5)
    """
    if probability is None or gate == "turned down":
        return 0.5
    return 1 - probability if probability >= threshold else probability


def warm_up(bundle: str | None) -> None:
    """Load what `look` needs, or what `ask` needs of a bundle, before somebody waits for it."""
    if bundle is None:
        import leukoscope.service.glance  # noqa: F401
    else:
        from leukoscope.service.oracle import warmed

        warmed(bundle)


def look(paths: Sequence[str], max_pixels: int) -> list[Looked | PictureError]:
    """Decode pictures to see whether they can be; for each its size, or why it cannot."""
    from leukoscope.service.glance import decoded_all

    return decoded_all(paths, max_pixels)


def ask(
    bundle: str, jobs: Sequence[tuple[str, str]], folder: str, um_per_px: float | None, max_pixels: int
) -> list[Asked]:
    """Ask a bundle of pictures, and draw their cells.

    Args:
        bundle: its folder.
        jobs: path of each picture, and the name under which its cells are drawn.
        folder: where: `NAME-1-small.jpg`, `NAME-1-frame.jpg`, `NAME-1-heat.png`.
        um_per_px: scale of the pictures; None: as they say.
        max_pixels: larger pictures are not read.
    """
    from leukoscope.service.oracle import asked_and_drawn

    return asked_and_drawn(bundle, jobs, folder, um_per_px, max_pixels)


def probe(bundle: str, paths: Sequence[str], um_per_px: float | None, max_pixels: int) -> list[tuple[AskedCell, ...]]:
    """What a bundle says of the cells of pictures; nothing is drawn. A picture without an answer has no cells."""
    from leukoscope.service.oracle import asked_alone

    return asked_alone(bundle, paths, um_per_px, max_pixels)


def words(bundle: str, path: str, um_per_px: float | None, max_pixels: int) -> dict[int, str]:
    """What is measured of each cell of a picture that was asked, and where its heat map lies, by number of the cell."""
    from leukoscope.service.oracle import worded

    return worded(bundle, path, um_per_px, max_pixels)


def frames(bundle: str, path: str, um_per_px: float | None, max_pixels: int) -> dict[int, bytes]:
    """What the network sees of each cell of a picture that was asked, as PNG files by the number of the cell."""
    from leukoscope.service.oracle import frames_as_seen

    return frames_as_seen(bundle, path, um_per_px, max_pixels)


def tile(shown: Shown, z: int, x: int, y: int, max_pixels: int) -> bytes:
    """One tile of a picture as JPEG; its zooms are those of `zooms`."""
    from leukoscope.service.tiles import drawn_tile

    return drawn_tile(shown, z, x, y, max_pixels)


def cell_of_slide(shown: Shown, box: tuple[int, int, int, int]) -> bytes:
    """A cell of a slide with a third of its size around it, as a small JPEG."""
    from leukoscope.service.tiles import drawn_cell

    return drawn_cell(shown, box)


def ask_window(
    bundle: str, window: SlideWindow, cells: Boxes, drawn: tuple[str, str] | None
) -> dict[int, tuple[AskedCell, bytes | None]]:
    """Ask a bundle of one window of a slide again.

    Args:
        bundle: its folder.
        window: which.
        cells: number and box of each cell that is wanted.
        drawn: folder, and the name under which they are drawn, as `ask` draws them.

    Returns:
        By the number of each cell that was found again: what the bundle says, and the frame as a PNG file.
    """
    from leukoscope.service.oracle import asked_of_window

    return asked_of_window(bundle, window, cells, drawn)


def statement(
    bundle: str, subject: str, rows: Sequence[dict[str, Any]], pictures: int, unreadable: int
) -> dict[str, Any]:
    """What a bundle's rule for patients says of cells: the values of `inference.patients.PatientStatement`.

    Args:
        bundle: folder of the bundle that answered.
        subject: a pseudonym.
        rows: of each cell: number, picture, logit, probability, decision, gate, and whether it lies in a field.
        pictures: how many there are.
        unreadable: how many of them are without an answer.
    """
    from leukoscope.service.oracle import stated

    return stated(bundle, subject, rows, pictures, unreadable)


def document(
    title: str, lines: Sequence[tuple[str, str]], cells: Sequence[tuple[str | None, str, str]], foot: str
) -> bytes:
    """A report as PDF: the same bytes for the same content.

    Args:
        title: of the document.
        lines: pairs of a heading and words.
        cells: path of a small picture or None, and two lines under it.
        foot: on each page, beside that it is for research use.
    """
    from leukoscope.service.pdf import laid_out

    return laid_out(title, lines, cells, foot)
