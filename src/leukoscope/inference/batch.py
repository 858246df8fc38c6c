"""Many pictures as one batch: to a table, lines, a gallery, or a folder of fields as the answers come."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from leukoscope._version import __version__
from leukoscope.cells.read import MAX_PIXELS
from leukoscope.errors import PictureError
from leukoscope.files import atomic_path, exclusive, write_json, write_text
from leukoscope.inference.answer import Answer, Decision
from leukoscope.inference.cells import BATCH_SIZE, Cell, ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.journal import Growth, Journal, Kept, Stamp, settings_of, stamp
from leukoscope.inference.order import places
from leukoscope.inference.owners import Owners
from leukoscope.inference.patients import PatientTally
from leukoscope.inference.schemas import row_facts
from leukoscope.inference.sources import PictureList, find_pictures
from leukoscope.inference.writers import SUFFIX, RowFormat, header, patient_lines, row
from leukoscope.progress import Advance
from leukoscope.text import RESEARCH_USE

__all__ = ["DEFAULT_GALLERY", "RESEARCH_USE", "OutputFormat", "find_pictures", "run_batch", "run_fields", "summary"]

OutputFormat = Literal["table", "csv", "jsonl", "html"]
Order = Literal["given", "score"]
DEFAULT_GALLERY = Path("leukoscope-report")
SUMMARY = "summary.json"
JOURNAL = "predictions.unfinished.jsonl"
KEPT = ".answers.jsonl"  # the journal of a run that is done

Sink = Callable[[Answer], None]


class BatchTally(Counter[Decision]):
    """How many answers got each decision, `unreadable` included.

    Attributes:
        pictures: how many were answered for.
        in_fields: how many of the answers are for white cells found in fields or crops.
        resumed: pictures whose answers an earlier run had kept.
        unread: fields that could not be read; one without a white cell was.
        left_out: files that hold no picture, by suffix.
    """

    def __init__(self, pictures: Sequence[Path | PictureError] = ()) -> None:
        super().__init__()
        self.pictures = len(pictures)
        self.in_fields = 0
        self.resumed = 0
        self.unread = 0
        self.left_out = pictures.left_out if isinstance(pictures, PictureList) else Counter[str]()

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self[answer.decision] += 1
        self.in_fields += answer.place is not None

    def to_json(self, classifier: Classifier) -> dict[str, Any]:
        """What was done, and with what, as JSON-ready values."""
        bundle = classifier.bundle
        rule = bundle.facts.decision
        return {
            "statement": RESEARCH_USE,
            "software": __version__,
            "model": bundle.facts.name,
            "bundle": bundle.digest,
            "threshold": rule.threshold,
            "refer_from": None if rule.refer is None else rule.refer.low,
            "gate": bundle.facts.gate is not None,
            "pictures": self.pictures,
            "answers": {name: self[name] for name in ("blast", "normal", "refer", "unreadable")},
            "in_fields": self.in_fields,
            "left_out": dict(self.left_out),
        }


def run_batch(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    *,
    format: OutputFormat,  # noqa: A002  (the option's name on the command line)
    out: Path | None = None,
    emit: Callable[[str], None] | None = None,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    progress: Advance | None = None,
    synthetic: bool = False,
    morphology: bool | None = None,
    owners: Owners | None = None,
    um_per_px: float | None = None,
    order: Order = "given",
    anew: bool = False,
) -> BatchTally:
    """Answer for every picture and write the answers down.

    Rows for ``out`` are kept as they come, in `JOURNAL`: a run that was stopped goes on where it was when it is called
    again with the same settings. When all is written it becomes `KEPT`: where pictures were added since, only those are
    read. A gallery needs all pictures.

    Args:
        classifier: what answers.
        pictures: from `find_pictures`.
        format: rows of text, or `html` for a gallery.
        out: folder to write into: ``predictions.*`` or the gallery, and ``summary.json``. Rows without it go to
            ``emit``.
        emit: takes each line, without its line break; beside a gallery, the lines of the table.
        batch_size: how many frames go through the graph at once.
        max_pixels: larger pictures are unreadable.
        progress: called with the number of pictures newly answered.
        synthetic: the pictures are rendered; the gallery says so.
        morphology: measure each cell, for JSON lines and the gallery; None: for the gallery alone. Slower.
        owners: whose the pictures are: then one statement for each patient is written, as ``patients.*`` beside
            ``predictions.*``, into the gallery, or to ``emit`` in place of the cells.
        um_per_px: the scale of the pictures, micrometres per pixel, where it is known.
        order: of the rows of text: ``score`` puts the highest first, whatever was decided, states each cell's place,
            and writes when all are answered. The gallery always states places.
        anew: read all, whatever a run that is done has kept.

    Returns:
        How many answers got each decision: one for each picture of a cell on black, one for each white cell of a field.

    Raises:
        LeukoscopeError: the output cannot be written; nothing half-written is left under a final name.
    """
    tally = BatchTally(pictures)
    states = None if owners is None else PatientTally(classifier.bundle.facts, owners)
    measure = format == "html" if morphology is None else morphology
    options = ReadOptions(max_pixels, um_per_px, measure=measure)
    made = row_facts(classifier.bundle)
    run = {"run": run_digest(classifier, pictures, max_pixels=max_pixels, um_per_px=um_per_px)}

    def fill(add: Sink, answers: Iterable[Answer]) -> None:
        for answer in answers:
            add(answer)
            tally.add(answer)
            if states is not None:
                states.add(answer)

    settings = settings_of(classifier.bundle, options)

    def answers(journal: Journal | None = None, kept: Kept | None = None) -> Iterator[Answer]:
        return _answers(classifier, pictures, journal, kept, options, batch_size, progress, tally)

    if format == "html":
        from leukoscope.inference.gallery import gallery  # noqa: PLC0415 - rows need no templates

        folder = out or DEFAULT_GALLERY
        facts, digest = classifier.bundle.facts, classifier.bundle.digest
        with (
            exclusive(folder, "writes into"),
            atomic_path(folder / KEPT) as kept,
            closing(Journal(kept, settings)) as journal,
        ):
            with (
                gallery(folder, facts, digest=digest, synthetic=synthetic, states=states) as add,
                _rows("table", emit, "given", made) as rows,
            ):
                fill(lambda answer: (add(answer), rows(answer))[1], answers(journal))
            write_json(folder / SUMMARY, tally.to_json(classifier) | run)
    elif out is None:
        with _rows(format, None if states is not None else emit, order, made) as rows:
            fill(rows, answers())
        if states is not None and emit is not None:
            for line in patient_lines(format, states.statements()):
                emit(line)
    else:
        with exclusive(out, "writes into"), _journal(out, settings) as journal:
            with (
                atomic_path(out / f"predictions.{SUFFIX[format]}") as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
                _rows(format, lambda line: file.write(f"{line}\n"), order, made) as rows,
            ):
                fill(rows, answers(journal, None if anew else Kept(out / KEPT, settings)))
            if states is not None:
                lines = patient_lines(format, states.statements())
                write_text(out / f"patients.{SUFFIX[format]}", "".join(f"{line}\n" for line in lines))
            write_json(out / SUMMARY, tally.to_json(classifier) | run)
    return tally


def run_digest(
    classifier: Classifier, pictures: Sequence[Path | PictureError], *, max_pixels: int, um_per_px: float | None
) -> str:
    """SHA-256 of what decides which answers a run gives: bundle, settings, and the pictures by name."""
    told = settings_of(classifier.bundle, ReadOptions(max_pixels, um_per_px))
    names = [str(each.path) if isinstance(each, PictureError) else str(each) for each in pictures]
    return hashlib.sha256(json.dumps([told, names]).encode()).hexdigest()


def grown(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    out: Path,
    *,
    format: OutputFormat,  # noqa: A002  (as in `run_batch`)
    max_pixels: int,
    um_per_px: float | None,
    morphology: bool | None,
) -> Growth | None:
    """How ``pictures`` differ from those whose answers ``out`` has kept; None where these are of another run.

    That is a run of another bundle or other settings, of other pictures alone, or of some that are still there but are
    not among ``pictures``.
    """
    options = ReadOptions(max_pixels, um_per_px, measure=format == "html" if morphology is None else morphology)
    found = Kept(out / KEPT, settings_of(classifier.bundle, options)).growth(pictures)
    return None if found.others or not (found.same or found.changed) else found


def run_fields(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    out: Path,
    options: ReadOptions,
    *,
    owners: Owners | None = None,
    progress: Advance | None = None,
) -> BatchTally:
    """Answer for every field; write JSON, pictures, tables, contours, patients and the page into ``out``.

    A field whose JSON is there already, from the same file and the same settings, is not read again: a run that was
    stopped goes on where it was.

    Args:
        classifier: what answers; as many fields are read at a time as it has threads.
        pictures: from `find_pictures`.
        out: the folder; that of an earlier run with the same settings, or one without results.
        options: how the pictures are read.
        owners: whose the pictures are, to state patients too.
        progress: called with the number of fields newly done.

    Raises:
        LeukoscopeError: ``out`` holds results of other settings, or cannot be written.
    """
    from leukoscope.inference.folder import FieldFolder  # noqa: PLC0415 - rows need no pages

    options = replace(options, keep=True)
    tally = BatchTally(pictures)
    with (
        exclusive(out, "writes into"),
        closing(
            FieldFolder(
                out,
                settings_of(classifier.bundle, options),
                row_facts(classifier.bundle),
                pictures,
                threads=classifier.threads,
            )
        ) as folder,
    ):
        todo = [picture for picture in pictures if not folder.holds(picture)]
        tally.resumed = len(pictures) - len(todo)
        if progress is not None:
            progress(tally.resumed)
        for answers in classifier.answers(todo, options, batch_size=1, progress=progress):
            folder.add(answers)
        for answer in folder.finish(classifier.bundle.facts, owners):
            tally.add(answer)
        tally.unread = folder.unread
        write_json(out / SUMMARY, tally.to_json(classifier))
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
        many = "answer" if total == 1 else "answers"
        what = f"{total} {many}, {tally.in_fields} for white cells found in fields or crops"
    old = f" ({tally.resumed} pictures of an earlier run)" if tally.resumed else ""
    return f"{what}{old}: {counts} (model {facts.name}, {rule}){unchecked}"


@contextmanager
def _journal(out: Path, settings: dict[str, Any]) -> Iterator[Journal]:
    journal = Journal(out / JOURNAL, settings)
    done = False
    try:
        yield journal
        done = True
    finally:
        journal.close(out / KEPT if done else None)


def _answers(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    journal: Journal | None,
    done: Kept | None,
    options: ReadOptions,
    batch_size: int,
    progress: Advance | None,
    tally: BatchTally,
) -> Iterator[Answer]:
    """The answers for all pictures in their order: those that an earlier run kept, the others anew."""

    def held(by: Kept | None) -> set[str]:
        # By name: a path that is looked up keeps its hash, for each of millions of pictures.
        return set() if by is None else {str(each) for each in pictures if isinstance(each, Path) and by.holds(each)}

    stopped, finished = held(journal), held(done)
    kept = stopped | finished if finished else stopped
    tally.resumed = len(kept)
    before: dict[str, Stamp | None] = {}

    def todo() -> Iterator[Path | PictureError]:
        for picture in pictures:
            if isinstance(picture, PictureError):
                yield picture
            elif str(picture) not in kept:
                if journal is not None:
                    before[str(picture)] = stamp(picture)
                yield picture

    fresh = classifier.answers(todo(), options, batch_size=batch_size, progress=progress)
    for picture in pictures:
        name = str(picture)
        if isinstance(picture, PictureError) or name not in kept:
            answers: Sequence[Answer] = next(fresh).each
            if journal is not None and isinstance(picture, Path):
                journal.write(picture, before.pop(name, None), answers)
        else:
            if journal is not None and name in stopped:
                answers = journal.answers(picture)
            elif journal is not None and done is not None:
                answers = done.answers(picture)
                journal.write(picture, done.stamp(picture), answers)
            if progress is not None:
                progress(1)
        yield from answers
    for _ in fresh:  # to its end: the last batch is told to `progress`
        pass


@contextmanager
def _rows(kind: RowFormat, write: Callable[[str], object] | None, order: Order, made: dict[str, Any]) -> Iterator[Sink]:
    if write is None:
        yield lambda answer: None
        return
    ordered = order == "score"
    first = header(kind, ordered=ordered)
    if first is not None:
        write(first)
    if not ordered:
        yield lambda answer: (write(row(kind, answer, made=made)), None)[1]
        return
    held: list[Answer] = []
    # Without pixels and maps, which no row holds.
    yield lambda answer: held.append(replace(answer, cell=Cell(place=answer.place), heatmap=None, embedding=None))
    told = zip(places(answer.logit for answer in held), held, strict=True)
    for place, answer in sorted(told, key=lambda pair: (pair[0] is None, pair[0] or 0)):
        write(row(kind, answer, place, ordered=True, made=made))
