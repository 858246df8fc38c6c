"""A bundle asked of pictures, in a process of its own: see `answers`, through which the server calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import BundleFacts
from leukoscope.cells.read import decode
from leukoscope.errors import LeukoscopeError
from leukoscope.files import write_bytes
from leukoscope.inference.answer import Answer, Answers
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.classifier import load as load_classifier
from leukoscope.inference.overlay import BLAST_RGB, NORMAL_RGB, map_scale
from leukoscope.inference.patients import Judged, state_patient
from leukoscope.machine import cpu_count
from leukoscope.service.answers import SMALL, Asked, AskedCell, Boxes, SlideWindow, doubt_of
from leukoscope.slides.reading import read_window
from leukoscope.slides.source import open_slide
from leukoscope.smears.find import SAME_CELL, box_overlap
from leukoscope.smears.normalise import Normalisation

_THREADS = 4  # at most: the process yields to the server, and each holds a picture
_HEAT = 102  # pixels of a side of a map that is drawn
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def asked_and_drawn(
    bundle: str, jobs: Sequence[tuple[str, str]], folder: str, um_per_px: float | None, max_pixels: int
) -> list[Asked]:
    """See `answers.ask`."""
    classifier = _classifier(bundle)
    found = classifier.answers([path for path, _ in jobs], ReadOptions(max_pixels, um_per_px))
    return [
        _asked(classifier.bundle.facts, answers, Path(path), Path(folder), name, max_pixels)
        for (path, name), answers in zip(jobs, found, strict=True)
    ]


def asked_alone(
    bundle: str, paths: Sequence[str], um_per_px: float | None, max_pixels: int
) -> list[tuple[AskedCell, ...]]:
    """See `answers.probe`."""
    classifier = _classifier(bundle)
    found = classifier.answers(list(paths), ReadOptions(max_pixels, um_per_px))
    return [
        tuple(_cell(classifier.bundle.facts, answer, number) for number, answer in enumerate(answers.cells, 1))
        for answers in found
    ]


def worded(bundle: str, path: str, um_per_px: float | None, max_pixels: int) -> dict[int, str]:
    """See `answers.words`."""
    (answers,) = _classifier(bundle).answers([path], ReadOptions(max_pixels, um_per_px, measure=True))
    return {number: answer.words for number, answer in enumerate(answers.cells, 1) if answer.words is not None}


def frames_as_seen(bundle: str, path: str, um_per_px: float | None, max_pixels: int) -> dict[int, bytes]:
    """See `answers.frames`."""
    (answers,) = _classifier(bundle).answers([path], ReadOptions(max_pixels, um_per_px))
    return {
        number: _encoded(answer.frame, ".png")
        for number, answer in enumerate(answers.cells, 1)
        if answer.frame is not None
    }


def asked_of_window(
    bundle: str, window: SlideWindow, cells: Boxes, drawn: tuple[str, str] | None
) -> dict[int, tuple[AskedCell, bytes | None]]:
    """See `answers.ask_window`."""
    classifier = _classifier(bundle)
    with closing(open_slide(Path(window.path))) as slide:
        rgb, (x, y) = read_window(slide, window.box, window.um_per_px)
    options = ReadOptions(
        max_pixels=rgb.shape[0] * rgb.shape[1], um_per_px=window.um_per_px, red_cell_um=window.red_cell_um,
        stain=cast("Normalisation", window.stain),
    )  # fmt: skip
    (answers,) = classifier.answers([rgb], options)
    found = {}
    for answer in answers.cells:
        if answer.place is None:
            continue
        left, top, width, height = answer.place.box
        here = left + x, top + y, width, height
        number = next((number for number, box in cells if box_overlap(here, box) >= SAME_CELL), None)
        if number is None or number in found:
            continue
        if drawn is not None:
            _draw(answer, rgb, Path(drawn[0]), f"{drawn[1]}-{number}", write_bytes)  # its row is there: never half
        frame = None if answer.frame is None else _encoded(answer.frame, ".png")
        found[number] = replace(_cell(classifier.bundle.facts, answer, number), box=here), frame
    return found


def stated(bundle: str, subject: str, rows: Sequence[dict[str, Any]], pictures: int, unreadable: int) -> dict[str, Any]:
    """See `answers.statement`."""
    facts = _facts(bundle)
    judged = [
        Judged(
            row["place"], row["picture"], row["logit"], row["probability"], row["decision"],
            row["picture"] if row["in_field"] else None, row["number"],
        )
        for row in rows
        if row["logit"] is not None and row["gate"] != "turned down"
    ]  # fmt: skip
    found = state_patient(
        facts, subject, judged, pictures=pictures, unreadable=unreadable, turned_down=len(rows) - len(judged)
    )
    return found.to_json()


def warmed(bundle: str) -> None:
    """See `answers.warm_up`."""
    _classifier(bundle)


@lru_cache(maxsize=2)
def _classifier(bundle: str) -> Classifier:
    cv2.setNumThreads(1)
    return load_classifier(bundle, threads=min(_THREADS, cpu_count()))


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
    cells = []
    for number, answer in enumerate(answers.cells, 1):
        _draw(answer, rgb, folder, f"{name}-{number}")
        cells.append(_cell(facts, answer, number))
    scale = None if finding is None else finding.ruler.um_per_px
    kind = "cell" if answers.reading.kind == "framed" else answers.reading.kind or "none"
    return Asked(kind, scale, answers.warnings, tuple(cells), None)


def _cell(facts: BundleFacts, answer: Answer, number: int) -> AskedCell:
    p = answer.probability
    doubt = doubt_of(p, answer.gate, facts.decision.threshold)
    box = None if answer.place is None else answer.place.box
    embedding = None if answer.embedding is None else answer.embedding.astype(np.float16).tobytes()
    logit = answer.logit if answer.logit is None or math.isfinite(answer.logit) else None
    return AskedCell(
        number, None if box is None else tuple(int(side) for side in box), logit, p, answer.decision,  # type: ignore[arg-type]
        answer.reason, answer.gate, float(doubt), embedding,
    )  # fmt: skip


def _draw(
    answer: Answer, rgb: NDArray[np.uint8] | None, folder: Path, name: str,
    write: Callable[[Path, bytes], None] | None = None,
) -> None:  # fmt: skip
    write = write or _write
    if rgb is not None and answer.place is not None:
        small = _around(rgb, answer.place.box)
    elif answer.frame is not None:
        small = answer.frame
    else:
        return
    write(folder / f"{name}-small.jpg", _encoded(_sized(small, SMALL), ".jpg"))
    if answer.frame is not None:
        write(folder / f"{name}-frame.jpg", _encoded(answer.frame, ".jpg"))
    if answer.heatmap is not None:
        write(folder / f"{name}-heat.png", _heat(answer.heatmap))


def _heat(heatmap: NDArray[np.float32]) -> bytes:
    """The map as a small PNG with transparency, to be laid over the frame: orange for blast, blue for normal."""
    seen = np.nan_to_num(heatmap)
    if max(seen.shape) > _HEAT:  # a large one takes as long to be compressed as a third of its graph
        seen = cv2.resize(seen, (_HEAT, _HEAT), interpolation=cv2.INTER_AREA).astype(np.float32)
    signed = np.clip(seen / (map_scale(seen) or 1.0), -1, 1)
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


def _write(path: Path, data: bytes) -> None:
    """Write a drawing, without waiting for the disk, as it can be drawn again.

    Its row is written after it, so that nobody sees half of it. One that may be seen already is replaced as a whole.
    """
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        _write(path, data)
    except FileExistsError:
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)


def _encoded(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    options = _JPEG if suffix == ".jpg" else []
    done, content = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise LeukoscopeError("the picture cannot be encoded")
    return content.tobytes()
