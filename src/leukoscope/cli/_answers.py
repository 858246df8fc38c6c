"""What `predict` and `demo` share: a batch answered, its sum told; and the word where a provider is not offered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from leukoscope.bundle.decision import refer_claim
from leukoscope.bundle.patients import subject_claim, subject_rule
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import CARD_FILE
from leukoscope.cells.read import MAX_PIXELS
from leukoscope.cli._results import check_results
from leukoscope.cli._show import JsonProgress, Terminal
from leukoscope.errors import PictureError
from leukoscope.inference.answer import HONEST
from leukoscope.inference.batch import (
    DEFAULT_GALLERY,
    SUMMARY,
    BatchTally,
    Order,
    OutputFormat,
    grown,
    run_batch,
    run_digest,
    summary,
)
from leukoscope.inference.cells import BATCH_SIZE
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.graph import offered_providers
from leukoscope.inference.order import ORDER
from leukoscope.inference.owners import Owners
from leukoscope.inference.writers import SUFFIX
from leukoscope.progress import Advance
from leukoscope.text import printable


def answer_all(
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
    owners: Owners | None = None,
    um_per_px: float | None = None,
    order: Order = "given",
    anew: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> BatchTally:
    """Run `run_batch`; say its sum, and where files went, on standard error, unless it is to be quiet."""

    def run(progress: Advance | None = None) -> BatchTally:
        return run_batch(
            classifier, pictures, format=kind, out=out, emit=emit, batch_size=batch_size, max_pixels=max_pixels,
            progress=progress, synthetic=synthetic, morphology=morphology, owners=owners,
            um_per_px=um_per_px, order=order, anew=anew,
        )  # fmt: skip

    try:
        # A bar between the rows on one terminal would tear both.
        if as_json:
            with JsonProgress().stage("pictures", len(pictures)) as advance:
                tally = run(advance)
        elif not quiet and sys.stderr.isatty() and (emit is None or out is not None or not sys.stdout.isatty()):
            with Terminal().stage("pictures", len(pictures)) as advance:
                tally = run(advance)
        else:
            tally = run()
    except KeyboardInterrupt:
        if out is not None and kind != "html":
            click.echo("the answers so far are kept: the same command goes on from there", err=True)
        raise
    if not quiet:
        _tell(tally, classifier, kind, out, owners, order)
    return tally


def check_batch(
    classifier: Classifier,
    pictures: Sequence[Path | PictureError],
    out: Path | None,
    kind: OutputFormat,
    *,
    max_pixels: int = MAX_PIXELS,
    um_per_px: float | None = None,
    morphology: bool | None = None,
) -> str:
    """Refuse to answer into a folder that holds the answers of another run; see `check_results`.

    Returns:
        What is gone on with, where pictures were added or changed since, or are gone; else empty.
    """
    folder = out or (DEFAULT_GALLERY if kind == "html" else None)
    if folder is None:
        return ""
    known = grown(
        classifier, pictures, folder, format=kind, max_pixels=max_pixels, um_per_px=um_per_px, morphology=morphology
    )
    if known is None:
        run = run_digest(classifier, pictures, max_pixels=max_pixels, um_per_px=um_per_px)
        said = "{0[pictures]} pictures, model {0[model]}"
        check_results(folder / SUMMARY, run, said.format)
        return ""
    told = known.words()
    return f"{told}; the gallery is made of all anew" if told and kind == "html" else told


def _tell(
    tally: BatchTally, classifier: Classifier, kind: OutputFormat, out: Path | None, owners: Owners | None, order: Order
) -> None:
    click.echo(summary(tally, classifier), err=True)
    if owners is not None:
        people = len(set(owners.patient.values()))
        click.echo(f"{people} {'patient' if people == 1 else 'patients'}, named by {printable(owners.how)}", err=True)
    if tally.in_fields:
        click.echo(HONEST, err=True)
    for line in claims(classifier.bundle, patients=owners is not None):
        click.echo(line, err=True)
    if order == "score":
        click.echo(ORDER, err=True)
    if kind == "html":
        from leukoscope.inference.gallery import PAGE

        click.echo(f"gallery: {printable(str((out or DEFAULT_GALLERY) / PAGE))}", err=True)
    elif out is not None:
        click.echo(f"written: {printable(str(out / f'predictions.{SUFFIX[kind]}'))}", err=True)
        if owners is not None:
            click.echo(f"written: {printable(str(out / f'patients.{SUFFIX[kind]}'))}", err=True)


def claims(bundle: Bundle, *, patients: bool) -> list[str]:
    """In a line or two what answers rest on; its card, where it has one, tells what was measured, with intervals."""
    facts = bundle.facts
    told = [] if facts.decision.calibrated else ["Probabilities are not calibrated: they rank cells and are no chance."]
    if facts.decision.refer is None and facts.decision.no_refer:
        told.append(refer_claim(facts.decision))
    stated = patients and not isinstance(subject_rule(facts), str)
    if patients and not stated:
        told.append(subject_claim(facts))
    asked = [
        *(["what referring is worth"] if facts.decision.refer or facts.gate else []),
        *(["how often a patient's statement was wrong"] if stated else []),
    ]
    if asked and CARD_FILE in facts.files:
        told.append(f"The model's card tells {' and '.join(asked)}: {printable(str(bundle.folder / CARD_FILE))}")
    return told


def fallen_back(classifier: Classifier, provider: str | None) -> str:
    """That the processor answers in place of what was asked for; empty where it does not."""
    wanted = (provider or "cpu").lower().removesuffix("executionprovider")
    if classifier.provider.lower() == f"{wanted}executionprovider":
        return ""
    return f"{provider} is not offered here, the processor answers; offered: {', '.join(offered_providers())}"


def emitter(kind: OutputFormat) -> Callable[[str], None] | None:
    """What writes rows to standard output; None for the gallery, which has none."""
    if kind == "html":
        return None
    if kind == "table":
        return click.echo
    return lambda line: click.echo(line.encode("utf-8"))  # JSON and CSV are UTF-8 whatever the terminal's encoding
