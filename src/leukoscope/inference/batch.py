"""Many pictures as one batch: to a table, lines or a gallery as the answers come; many fields into one folder.

Fields are read on all cores, resumable, one field in memory for each process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import cv2

from leukoscope._version import __version__
from leukoscope.bundle.patients import subject_claim
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.cells.read import MAX_PIXELS
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.files import atomic_path, write_bytes, write_json, write_text
from leukoscope.inference.answer import Decision, Place, Prediction
from leukoscope.inference.cells import BATCH_SIZE
from leukoscope.inference.classifier import HONEST, Classifier, load, read_field
from leukoscope.inference.gallery import PAGE, gallery, safe_stem, write_page
from leukoscope.inference.overlay import annotated, encode, reduced, thumbnail
from leukoscope.inference.owners import Owners
from leukoscope.inference.patients import PatientTally
from leukoscope.inference.sources import find_pictures
from leukoscope.inference.writers import (
    SUFFIX,
    RowFormat,
    header,
    patient_lines,
    row,
    write_coco,
    write_csv,
    write_geojson,
)
from leukoscope.smears.find import MAX_FIELD_PIXELS
from leukoscope.smears.normalise import Normalisation
from leukoscope.smears.ruler import RED_CELL_UM
from leukoscope.text import decodable

__all__ = ["DEFAULT_GALLERY", "RESEARCH_USE", "OutputFormat", "find_pictures", "run_batch", "summary"]

OutputFormat = Literal["table", "csv", "jsonl", "html"]
DEFAULT_GALLERY = Path("leukoscope-report")
RESEARCH_USE = "Research use only: decision support, never a diagnosis."


class BatchTally(Counter[Decision]):
    """How many answers got each decision, `unreadable` included.

    Attributes:
        in_fields: how many of the answers are for white cells found in fields or crops.
    """

    in_fields = 0


def run_batch(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    *,
    format: OutputFormat,  # noqa: A002  (the option's name on the command line)
    out: Path | None = None,
    emit: Callable[[str], None] | None = None,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
    synthetic: bool = False,
    morphology: bool | None = None,
    owners: Owners | None = None,
    um_per_px: float | None = None,
) -> BatchTally:
    """Answer for every picture and write the answers down.

    Args:
        classifier: what answers.
        pictures: from `find_pictures`.
        format: rows of text, or `html` for a gallery.
        out: folder to write into: ``predictions.*`` or the gallery. Rows without it go to ``emit``.
        emit: takes each line, without its line break; beside a gallery, the lines of the table.
        batch_size: how many frames go through the graph at once.
        max_pixels: larger pictures are unreadable.
        progress: called with the number of pictures newly answered.
        synthetic: the pictures are rendered; the gallery says so.
        morphology: measure each cell, for JSON lines and the gallery; None: for the gallery alone. Slower.
        owners: whose the pictures are: then one statement for each patient is written, as ``patients.*`` beside
            ``predictions.*``, into the gallery, or to ``emit`` in place of the cells.
        um_per_px: the scale of the pictures, micrometres per pixel, where it is known.

    Returns:
        How many answers got each decision: one for each picture of a cell on black, one for each white cell of a field.

    Raises:
        LeukoscopeError: the output cannot be written; nothing half-written is left.
    """
    tally = BatchTally()
    states = None if owners is None else PatientTally(classifier.bundle.facts, owners)
    with _sink(classifier, format, out, emit, synthetic, states) as add:
        measure = format == "html" if morphology is None else morphology
        for prediction in classifier.predict_many(
            pictures, batch_size, progress, max_pixels=max_pixels, morphology=measure, fields=True, um_per_px=um_per_px
        ):
            add(prediction)
            if states is not None:
                states.add(prediction)
            tally[prediction.decision] += 1
            tally.in_fields += prediction.place is not None
    return tally


def summary(tally: BatchTally, classifier: Classifier) -> str:
    """The counts in one line, with the model, its threshold and its band."""
    facts = classifier.bundle.facts
    total = sum(tally.values())
    band = facts.decision.refer
    names: tuple[Decision, ...] = ("blast", "normal", *(("refer",) if band or facts.gate else ()), "unreadable")
    counts = ", ".join(f"{tally[name]} {name}" for name in names)
    rule = f"blast from {facts.decision.threshold:.3g}" + ("" if band is None else f", refer from {band.low:.3g}")
    unchecked = "" if facts.gate else "; picture quality not checked"
    what = f"{total} {'picture' if total == 1 else 'pictures'}"
    if tally.in_fields:
        what = f"{total} {'answer' if total == 1 else 'answers'}, {tally.in_fields} for white cells found in fields"
    return f"{what}: {counts} (model {facts.name}, {rule}){unchecked}"


@contextmanager
def _sink(
    classifier: Classifier,
    kind: OutputFormat,
    out: Path | None,
    emit: Callable[[str], None] | None,
    synthetic: bool,
    states: PatientTally | None,
) -> Iterator[Callable[[Prediction], None]]:
    """Yield what takes the predictions one by one."""
    if kind == "html":
        with gallery(out or DEFAULT_GALLERY, classifier.bundle.facts, synthetic=synthetic, states=states) as add:
            tell = _rows("table", emit)

            def add_and_tell(prediction: Prediction) -> None:
                add(prediction)
                tell(prediction)

            yield add_and_tell
    elif out is None:
        yield _rows(kind, None if states is not None else emit)
        if states is not None and emit is not None:
            for line in patient_lines(kind, states.statements()):
                emit(line)
    else:
        path = out / f"predictions.{SUFFIX[kind]}"
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            yield _rows(kind, lambda line: file.write(f"{line}\n"))
        if states is not None:
            lines = patient_lines(kind, states.statements())
            write_text(out / f"patients.{SUFFIX[kind]}", "".join(f"{line}\n" for line in lines))


def _rows(kind: RowFormat, write: Callable[[str], object] | None) -> Callable[[Prediction], None]:
    if write is None:
        return lambda prediction: None
    first = header(kind)
    if first is not None:
        write(first)

    def add(prediction: Prediction) -> None:
        write(row(kind, prediction))

    return add


SETTINGS = "leukoscope-fields.json"
RECORDS = 2  # form of what is written of a field; 1 did not say what the gate decided
FIELDS, OVERLAYS, CELLS, GEOJSON = "fields", "overlays", "cells", "geojson"
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """What decides the answer for a field; a folder of results has one."""

    bundle: str | None = None
    um_per_px: float | None = None
    red_cell_um: float = RED_CELL_UM
    max_pixels: int = MAX_FIELD_PIXELS
    stain: Normalisation = "none"


@dataclass(frozen=True, slots=True)
class FieldTally:
    """What a run did: fields read, unreadable, taken over from an earlier run; white cells by decision."""

    fields: int
    unreadable: int
    resumed: int
    cells: Counter[str]


def run_fields(
    pictures: Sequence[Path | PictureError],
    out: Path,
    settings: FieldSettings,
    *,
    processes: int = 1,
    owners: Owners | None = None,
    progress: Callable[[int], None] | None = None,
) -> FieldTally:
    """Answer for every field; write JSON, pictures, tables, contours, patients and the page into ``out``.

    A field whose JSON is there already, from the same file and the same settings, is not read again: a run that was
    stopped goes on where it was. What is written of one field appears whole, its JSON last.

    Args:
        pictures: from `leukoscope.inference.sources.find_pictures`.
        out: the folder; that of an earlier run with the same settings, or one without results.
        settings: scale and bundle.
        processes: how many fields are worked on at once, each by a process with one thread.
        owners: whose the pictures are, to state patients too.
        progress: called with the number of fields newly done.

    Raises:
        LeukoscopeError: ``out`` holds results of other settings, cannot be written, or a process died.
    """
    _claim(out, settings)
    stems = [_stem(_name(item)) for item in pictures]
    for item, stem in zip(pictures, stems, strict=True):
        if isinstance(item, PictureError):
            _write_unreadable(out, stem, _name(item), item, None)
    done = [isinstance(item, PictureError) for item in pictures]
    kept = [not bad and _is_done(out, stem, item) for item, stem, bad in zip(pictures, stems, done, strict=True)]
    todo = [
        (str(item), stem)
        for item, stem, bad, old in zip(pictures, stems, done, kept, strict=True)
        if not bad and not old
    ]
    if progress is not None:
        progress(len(pictures) - len(todo))
    for _ in _work_all(todo, out, settings, processes):
        if progress is not None:
            progress(1)

    def records() -> Iterator[Record]:
        for stem in stems:
            record = _read_record(out, stem)
            if record is not None and record["error"] is None:
                yield record

    write_csv(out / "cells.csv", records())
    write_coco(out / "cells.coco.json", records)
    statements = None
    if owners is not None:
        facts = read_bundle(settings.bundle or default_bundle()).facts
        tally = PatientTally(facts, owners)
        for item, stem in zip(pictures, stems, strict=True):
            for answer in _answers(_read_record(out, stem), _name(item)):
                tally.add(answer)
        statements = [each.to_json() for each in tally.statements()]
        claim = {"statement": HONEST, "rule": subject_claim(facts), "named_by": owners.how}
        write_json(out / "patients.json", claim | {"patients": statements})
    write_page(out / PAGE, (_read_record(out, stem) for stem in stems), stems, statements)
    cells: Counter[str] = Counter()
    fields = 0
    for record in records():
        fields += 1
        cells.update(cell["decision"] for cell in record["cells"])
    return FieldTally(fields, len(pictures) - fields, sum(kept), cells)


def _work_all(todo: Sequence[tuple[str, str]], out: Path, settings: FieldSettings, processes: int) -> Iterator[None]:
    """Work off the fields, a few in flight at a time, so that memory does not grow with their number."""
    if processes == 1 or len(todo) < 2:
        for path, stem in todo:
            _work(path, stem, out, settings)
            yield
        return
    waiting = iter(todo)
    pool = ProcessPoolExecutor(min(processes, len(todo)), mp_context=get_context("spawn"))
    try:
        flight: set[Future[None]] = set()
        while True:
            while len(flight) < 2 * processes and (following := next(waiting, None)) is not None:
                flight.add(pool.submit(_work, *following, out, settings))
            if not flight:
                return
            finished, flight = wait(flight, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield
    except BrokenProcessPool as error:
        raise LeukoscopeError(
            "a process that reads fields was ended from outside, for want of memory perhaps",
            path=out,
            remedy="run the same command again with fewer --threads: it goes on where it was",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _work(path: str, stem: str, out: Path, settings: FieldSettings) -> None:
    """Read one field and write all that is written of it alone."""
    cv2.setNumThreads(1)
    stamp = _stamp(Path(path))
    try:
        field = read_field(
            _classifier(settings.bundle), path, um_per_px=settings.um_per_px, red_cell_um=settings.red_cell_um,
            max_pixels=settings.max_pixels, stain=settings.stain,
        )  # fmt: skip
    except PictureError as error:
        _write_unreadable(out, stem, path, error, stamp)
        return
    except (MemoryError, cv2.error, ValueError) as error:  # a decoder's own failure is this picture's alone
        why = PictureError(f"cannot be read as a field ({type(error).__name__}: {error})", path=path)
        _write_unreadable(out, stem, path, why, stamp)
        return
    record = field.to_json() | {"file": stamp}
    write_bytes(out / OVERLAYS / f"{stem}.png", encode(annotated(field), Path("a.png")))
    for cell in field.cells:
        name = out / CELLS / f"{stem}-{cell.number:03d}.webp"
        write_bytes(name, encode(thumbnail(field, cell), name))
        seen = None if cell.prediction is None else cell.prediction.frame
        if seen is not None:
            name = out / CELLS / f"{stem}-{cell.number:03d}-asked.webp"
            write_bytes(name, encode(reduced(seen), name))
    write_geojson(out / GEOJSON / f"{stem}.geojson", record)
    write_json(out / FIELDS / f"{stem}.json", record)


@cache
def _classifier(bundle: str | None) -> Classifier:
    """One for each process: a session is loaded once, not once a field."""
    return load(bundle, threads=1)


def _claim(out: Path, settings: FieldSettings) -> None:
    """Write the settings, or check that those there are the same."""
    wanted = {"version": __version__, "records": RECORDS, **asdict(settings)}
    path = out / SETTINGS
    if path.exists():
        if _json(path) != wanted:
            raise LeukoscopeError(
                "holds results of other settings or of another version", path=out, remedy="choose another --out folder"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise LeukoscopeError("holds other files", path=out, remedy="choose an empty --out folder")
    write_json(path, wanted)


def _is_done(out: Path, stem: str, path: Path | PictureError) -> bool:
    record = _read_record(out, stem)
    return record is not None and isinstance(path, Path) and record.get("file") == _stamp(path) is not None


def _read_record(out: Path, stem: str) -> Record | None:
    found = _json(out / FIELDS / f"{stem}.json")
    return found if isinstance(found, dict) and "error" in found else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_unreadable(out: Path, stem: str, path: str, error: PictureError, stamp: list[int] | None) -> None:
    why = "; ".join(part for part in (error.what, error.remedy) if part)
    record = {"path": decodable(path), "statement": HONEST, "cells": [], "error": why, "file": stamp}
    write_json(out / FIELDS / f"{stem}.json", record)


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change, by which a file is known again."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _stem(path: str) -> str:
    """The same name for the same picture in every run, whatever else is given."""
    digest = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:10]  # noqa: PTH100  (links stay links)
    return f"{safe_stem(0, path).removeprefix('00000').lstrip('-') or 'field'}-{digest}"


def _name(item: Path | PictureError) -> str:
    return str(item.path) if isinstance(item, PictureError) else str(item)


def _answers(record: Record | None, path: str) -> Iterator[Prediction]:
    """The answers of a field that was written down, as `predict` states them: one for each white cell."""
    if record is None or record["error"] is not None or not record["cells"]:
        why = (
            "not read"
            if record is None
            else record["error"] or "; ".join(("no white cell was found", *record["warnings"]))
        )
        yield Prediction(path, None, None, None, "unreadable", "", 0.0, error=why)
        return
    ruler, warnings = record["ruler"], tuple(record["warnings"])
    for cell in record["cells"]:
        place = Place(cell["number"], tuple(cell["box"]), record["kind"], ruler["um_per_px"], warnings)
        yield Prediction(
            path, record["sha256"], cell["probability"], cell["logit"], cell["decision"], record["model"], 0.0,
            reason=cell["reason"], gate=cell["gate"] or "not checked", place=place,
        )  # fmt: skip
