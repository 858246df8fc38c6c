"""What `predict` and `demo` share: run a batch, show its progress, say its sum."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from leukoscope.bundle.claims import UNCALIBRATED, refer_claim
from leukoscope.bundle.subject_claim import subject_claim
from leukoscope.cells.read import MAX_PIXELS
from leukoscope.errors import PictureError
from leukoscope.inference.batch import DEFAULT_GALLERY, RESEARCH_USE, BatchTally, OutputFormat, run_batch, summary
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.field import HONEST
from leukoscope.inference.gallery import PAGE
from leukoscope.inference.loading import BATCH_SIZE
from leukoscope.inference.rows import SUFFIX
from leukoscope.inference.subject_names import SubjectNames
from leukoscope.printing import printable


def answer(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    *,
    kind: OutputFormat,
    out: Path | None,
    emit: Callable[[str], None] | None,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    synthetic: bool = False,
    morphology: bool | None = None,
    subjects: SubjectNames | None = None,
) -> BatchTally:
    """Run `run_batch`; say its sum, and where files went, on standard error."""

    def run(progress: Callable[[int], None] | None = None) -> BatchTally:
        return run_batch(
            classifier, pictures, format=kind, out=out, emit=emit, batch_size=batch_size, max_pixels=max_pixels,
            progress=progress, synthetic=synthetic, morphology=morphology, subjects=subjects,
        )  # fmt: skip

    # A bar between the rows on one terminal would tear both.
    if sys.stderr.isatty() and (emit is None or out is not None or not sys.stdout.isatty()):
        with click.progressbar(length=len(pictures), file=sys.stderr, label="cells", show_pos=True) as bar:
            tally = run(bar.update)
    else:
        tally = run()
    click.echo(summary(tally, classifier), err=True)
    if subjects is not None:
        people = len(set(subjects.subject.values()))
        click.echo(f"{people} {'subject' if people == 1 else 'subjects'}, named by {printable(subjects.how)}", err=True)
        click.echo(subject_claim(classifier.bundle.facts), err=True)
    if tally.in_fields:
        click.echo(HONEST, err=True)
    rule = classifier.bundle.facts.decision
    if not rule.calibrated:
        click.echo(UNCALIBRATED, err=True)
    claim = refer_claim(rule)
    if claim:
        click.echo(claim, err=True)
    click.echo(RESEARCH_USE, err=True)
    if kind == "html":
        click.echo(f"gallery: {printable(str((out or DEFAULT_GALLERY) / PAGE))}", err=True)
    elif out is not None:
        click.echo(f"written: {printable(str(out / f'predictions.{SUFFIX[kind]}'))}", err=True)
        if subjects is not None:
            click.echo(f"written: {printable(str(out / f'subjects.{SUFFIX[kind]}'))}", err=True)
    return tally


def emitter(kind: OutputFormat) -> Callable[[str], None] | None:
    """What writes rows to standard output; None for the gallery, which has none."""
    if kind == "html":
        return None
    if kind == "table":
        return click.echo
    return lambda line: click.echo(line.encode("utf-8"))  # JSON and CSV are UTF-8 whatever the terminal's encoding
