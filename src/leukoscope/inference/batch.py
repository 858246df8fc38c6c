"""From a list of pictures to a table, to JSON lines, to CSV, or to a gallery, as the answers come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from leukoscope.cells.read import MAX_PIXELS
from leukoscope.errors import PictureError
from leukoscope.files import atomic_path, write_text
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.gallery import gallery
from leukoscope.inference.loading import BATCH_SIZE
from leukoscope.inference.prediction import Decision, Prediction
from leukoscope.inference.rows import SUFFIX, RowFormat, header, row
from leukoscope.inference.subject_names import SubjectNames
from leukoscope.inference.subject_rows import subject_lines
from leukoscope.inference.subjects import SubjectTally
from leukoscope.inference.walk import find_pictures

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
    subjects: SubjectNames | None = None,
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
        subjects: whose the pictures are: then one statement for each subject is written, as ``subjects.*`` beside
            ``predictions.*``, into the gallery, or to ``emit`` in place of the cells.

    Returns:
        How many answers got each decision: one for each picture of a cell on black, one for each white cell of a field.

    Raises:
        LeukoscopeError: the output cannot be written; nothing half-written is left.
    """
    tally = BatchTally()
    states = None if subjects is None else SubjectTally(classifier.bundle.facts, subjects)
    with _sink(classifier, format, out, emit, synthetic, states) as add:
        measure = format == "html" if morphology is None else morphology
        for prediction in classifier.predict_many(
            pictures, batch_size, progress, max_pixels=max_pixels, morphology=measure, fields=True
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
    states: SubjectTally | None,
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
            for line in subject_lines(kind, states.statements()):
                emit(line)
    else:
        path = out / f"predictions.{SUFFIX[kind]}"
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            yield _rows(kind, lambda line: file.write(f"{line}\n"))
        if states is not None:
            lines = subject_lines(kind, states.statements())
            write_text(out / f"subjects.{SUFFIX[kind]}", "".join(f"{line}\n" for line in lines))


def _rows(kind: RowFormat, write: Callable[[str], object] | None) -> Callable[[Prediction], None]:
    if write is None:
        return lambda prediction: None
    first = header(kind)
    if first is not None:
        write(first)

    def add(prediction: Prediction) -> None:
        write(row(kind, prediction))

    return add
