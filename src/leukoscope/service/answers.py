"""The seam to the rest of the house: pictures go in as paths, answers come out as plain values.

What stands here runs in a `children.Child`, and only there is anything loaded that decodes pictures or runs a graph:
the server itself stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leukoscope.errors import PictureError


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
        folder: where: `NAME-1-small.jpg`, `NAME-1-frame.jpg`, `NAME-1-heat.png`, and `NAME-view.webp` of a field.
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
