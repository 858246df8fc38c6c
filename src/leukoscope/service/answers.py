"""The seam to the rest of the house: pictures go in as paths, answers come out as plain values.

All of it runs in a `children.Child`: nothing here may be called by the server itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import BundleFacts
from leukoscope.cells.read import decode, kind_of
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.answer import Answer, Answers
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.classifier import load as load_classifier
from leukoscope.inference.overlay import BLAST_RGB, NORMAL_RGB, map_scale
from leukoscope.inference.patients import Judged, state_patient

SMALL, VIEW = 170, 2000  # pixels of a side
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
MEDIA = {
    "BMP": "image/bmp", "PNG": "image/png", "JPEG": "image/jpeg", "TIFF": "image/tiff", "WebP": "image/webp",
}  # fmt: skip


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
        words: what was measured and where the heat map lies; None where not asked.
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
    words: str | None
    embedding: bytes | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a bundle says of one picture: its cells, or why there are none. ``kind``: cell, crop, field, none."""

    kind: str
    um_per_px: float | None
    warnings: tuple[str, ...]
    cells: tuple[AskedCell, ...]
    error: str | None


def look(path: str, max_pixels: int) -> Looked:
    """Decode a picture to see whether it can be.

    Raises:
        PictureError: it cannot.
    """
    data = Path(path).read_bytes()
    kind = kind_of(data)
    try:
        rgb = decode(data, name="the picture", max_pixels=max_pixels)
    except (OSError, ValueError, MemoryError, cv2.error, SyntaxError) as error:
        if isinstance(error, LeukoscopeError):
            raise
        raise PictureError(f"cannot be decoded ({type(error).__name__})", remedy="export the picture again") from None
    return Looked(MEDIA.get(kind or "", "application/octet-stream"), rgb.shape[1], rgb.shape[0])


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
    classifier = _classifier(bundle)
    options = ReadOptions(max_pixels, um_per_px, measure=True)
    found = classifier.answers([path for path, _ in jobs], options)
    return [
        _asked(classifier.bundle.facts, answers, Path(path), Path(folder), name, max_pixels)
        for (path, name), answers in zip(jobs, found, strict=True)
    ]


def probe(bundle: str, paths: Sequence[str], um_per_px: float | None, max_pixels: int) -> list[tuple[AskedCell, ...]]:
    """What a bundle says of the cells of pictures; nothing is drawn. A picture without an answer has no cells."""
    classifier = _classifier(bundle)
    found = classifier.answers(list(paths), ReadOptions(max_pixels, um_per_px))
    return [
        tuple(_cell(classifier.bundle.facts, answer, number) for number, answer in enumerate(answers.cells, 1))
        for answers in found
    ]


def frames(bundle: str, path: str, um_per_px: float | None, max_pixels: int) -> dict[int, bytes]:
    """What the network sees of each cell of a picture that was asked, as PNG files by the number of the cell."""
    (answers,) = _classifier(bundle).answers([path], ReadOptions(max_pixels, um_per_px))
    return {
        number: _encoded(answer.frame, ".png")
        for number, answer in enumerate(answers.cells, 1)
        if answer.frame is not None
    }


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
    facts = _facts(bundle)
    judged = [
        Judged(
            row["place"], row["picture"], row["logit"], row["probability"], row["decision"],
            row["picture"] if row["in_field"] else None, row["number"],
        )
        for row in rows
        if row["logit"] is not None and row["gate"] != "turned down"
    ]  # fmt: skip
    stated = state_patient(
        facts, subject, judged, pictures=pictures, unreadable=unreadable, turned_down=len(rows) - len(judged)
    )
    return stated.to_json()


@lru_cache(maxsize=2)
def _classifier(bundle: str) -> Classifier:
    cv2.setNumThreads(1)
    return load_classifier(bundle, threads=1)


@lru_cache(maxsize=8)
def _facts(bundle: str) -> BundleFacts:
    return read_bundle(bundle).facts


def _asked(facts: BundleFacts, answers: Answers, path: Path, folder: Path, name: str, max_pixels: int) -> Asked:
    if not answers.cells:
        return Asked("none", None, (), (), answers.each[0].error or "cannot be read")
    finding = answers.reading.finding
    rgb: NDArray[np.uint8] | None = None
    if finding is not None:
        rgb = decode(path.read_bytes(), name=path.name, max_pixels=max_pixels)
        _write(folder / f"{name}-view.webp", _encoded(_reduced(rgb, VIEW), ".webp"))
    cells = []
    for number, answer in enumerate(answers.cells, 1):
        _draw(answer, rgb, folder, f"{name}-{number}")
        cells.append(_cell(facts, answer, number))
    scale = None if finding is None else finding.ruler.um_per_px
    kind = "cell" if answers.reading.kind == "framed" else answers.reading.kind or "none"
    return Asked(kind, scale, answers.warnings, tuple(cells), None)


def _cell(facts: BundleFacts, answer: Answer, number: int) -> AskedCell:
    p = answer.probability
    doubt = 0.5
    if p is not None and answer.gate != "turned down":
        doubt = 1 - p if p >= facts.decision.threshold else p
    box = None if answer.place is None else answer.place.box
    embedding = None if answer.embedding is None else answer.embedding.astype(np.float16).tobytes()
    logit = answer.logit if answer.logit is None or math.isfinite(answer.logit) else None
    return AskedCell(
        number, None if box is None else tuple(int(side) for side in box), logit, p, answer.decision,  # type: ignore[arg-type]
        answer.reason, answer.gate, float(doubt), answer.words, embedding,
    )  # fmt: skip


def _draw(answer: Answer, rgb: NDArray[np.uint8] | None, folder: Path, name: str) -> None:
    if rgb is not None and answer.place is not None:
        small = _around(rgb, answer.place.box)
    elif answer.frame is not None:
        small = answer.frame
    else:
        return
    _write(folder / f"{name}-small.jpg", _encoded(_sized(small, SMALL), ".jpg"))
    if answer.frame is not None:
        _write(folder / f"{name}-frame.jpg", _encoded(answer.frame, ".jpg"))
    if answer.heatmap is not None:
        _write(folder / f"{name}-heat.png", _heat(answer.heatmap))


def _heat(heatmap: NDArray[np.float32]) -> bytes:
    """The map as a small PNG with transparency, to be laid over the frame: orange for blast, blue for normal."""
    top = map_scale(heatmap) or 1.0
    signed = np.clip(np.nan_to_num(heatmap) / top, -1, 1)
    rgba = np.zeros((*signed.shape, 4), np.uint8)
    rgba[..., :3] = np.where(signed[..., None] > 0, np.array(BLAST_RGB), np.array(NORMAL_RGB)).astype(np.uint8)
    rgba[..., 3] = np.rint(255 * 0.65 * np.abs(signed)).astype(np.uint8)
    done, content = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
    if not done:
        raise LeukoscopeError("the heat map cannot be encoded")
    return content.tobytes()


def _around(rgb: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The cell with a third of its size around it; grey beyond the edge of the picture."""
    x, y, width, height = box
    side = max(8, round(1.35 * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    canvas = np.full((side, side, 3), 128, np.uint8)
    rows, columns = (
        slice(max(0, top), min(rgb.shape[0], top + side)),
        slice(max(0, left), min(rgb.shape[1], left + side)),
    )
    canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = rgb[rows, columns]
    return canvas


def _sized(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    how = cv2.INTER_AREA if rgb.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (side, side), interpolation=how), np.uint8)


def _reduced(rgb: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    scale = longest / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _write(path: Path, data: bytes) -> None:
    """Write a drawing: whole or not at all, but without waiting for the disk, as it can be drawn again."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def _encoded(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    options = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 85], ".jpg": _JPEG}.get(suffix, [])
    done, content = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise LeukoscopeError("the picture cannot be encoded")
    return content.tobytes()
