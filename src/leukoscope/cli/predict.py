"""`leukoscope predict`: an answer for each picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from leukoscope.cli._options import BUNDLE, PROGRESS, PROVIDER, QUIET, THRESHOLD, TRUST
from leukoscope.cli._paths import listed
from leukoscope.cli._patients import by_patient, owners_of
from leukoscope.cli._results import REPLACE
from leukoscope.cli._show import research_use

if TYPE_CHECKING:
    from leukoscope.inference.batch import Order, OutputFormat


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURE_OR_FOLDER...")
@click.option(
    "--format", "kind", type=click.Choice(["table", "jsonl", "csv", "html"]),
    help="Output; html is a gallery with heat maps.  [default: table, or html with --out]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the gallery or predictions.*  [default: standard output; html: ./leukoscope-report]",
)  # fmt: skip
@BUNDLE
@TRUST
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to use.  [default: one per available core]")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=8, show_default=True, help="Cells at a time.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True,
    help="Larger pictures are unreadable.",
)  # fmt: skip
@click.option(
    "--um-per-px", type=click.FloatRange(0, min_open=True),
    help="Micrometres per pixel, where known; else the size of a picture of one cell on black must be that of the "
    "training cells, and fields are measured by their red cells.",
)  # fmt: skip
@click.option(
    "--morphology/--no-morphology", default=None,
    help="Measure each cell, for jsonl and html.  [default: in html only]",
)  # fmt: skip
@click.option(
    "--order", type=click.Choice(["given", "score"]), default="given", show_default=True,
    help="Order of the rows; score: those to look at first come first, referred ones in their place. A ranking, no "
    "probability.",
)  # fmt: skip
@REPLACE
@THRESHOLD
@PROVIDER
@QUIET
@PROGRESS
@by_patient
@research_use
def predict(
    paths: tuple[Path, ...],
    kind: OutputFormat | None,
    out: Path | None,
    bundle: Path | None,
    threads: int | None,
    batch_size: int,
    max_pixels: int,
    um_per_px: float | None,
    morphology: bool | None,
    order: Order,
    replace: bool,
    threshold: float | None,
    provider: str | None,
    quiet: bool,
    progress: Literal["auto", "json"],
    by: str | None,
    patients: str | None,
    trust: tuple[str, ...],
) -> int:
    """Say for each white blood cell: blast, normal or refer.

    A picture is BMP, PNG, JPEG, TIFF or WebP and one of three kinds, told by itself: one cell on a black surround, as
    in C-NMC 2019; a crop of one cell with its surroundings; or a whole field. In the latter two the white cells are
    found, each has a row of its own with its number, and the red cells give the scale; `leukoscope field` writes more
    about such pictures and uses all cores. Folders are searched to their depth. An unreadable picture is listed with
    the reason and never stops the rest; files of a folder that hold no picture are left out and counted.

    With --by patient: one row for each patient, as a worklist: the share of its judged cells called blast with an
    interval, a statement (blasts likely, blasts not seen, refer, too few cells, withheld), that share corrected for
    what the network does on patients that it never saw, and its ten strongest cells; `leukoscope field` states the
    same. A statement needs half of the cells found to be judged, and a bundle with a rule fitted on patients.

    `-` in the place of a path reads paths from standard input, one a line; `@FILE` reads them from a file.

    With --out, answers are kept as they come: a run that was stopped goes on when the same command is given again, and
    of a folder that has grown only what is new or changed is read (a gallery is made of all anew). summary.json
    counts the answers, and the files that were left out.

    Exit code: 0 all pictures read, 1 some unreadable, 2 wrong usage or unusable bundle. Files of a folder that hold no
    picture do not count; they are named.
    """
    from leukoscope.bundle.decision import decided_at
    from leukoscope.bundle.read import default_bundle
    from leukoscope.bundle.signature import read_trusted
    from leukoscope.cli._answers import answer_all, check_batch, emitter, fallen_back
    from leukoscope.inference.batch import find_pictures
    from leukoscope.inference.classifier import Classifier

    chosen_bundle = read_trusted(bundle or default_bundle(), trust)
    if threshold is not None:
        rule = decided_at(threshold, chosen_bundle.facts.decision)
        chosen_bundle = chosen_bundle.with_facts(decision=rule)
    classifier = Classifier(chosen_bundle, threads=threads, provider=provider)
    if not quiet and (said := fallen_back(classifier, provider)):
        click.echo(said, err=True)
    pictures = find_pictures(listed(paths))
    owners = owners_of(pictures, by, patients)
    chosen: OutputFormat = kind or ("html" if out else "table")
    if not replace:
        told = check_batch(
            classifier, pictures, out, chosen, max_pixels=max_pixels, um_per_px=um_per_px, morphology=morphology
        )
        if told and not quiet:
            click.echo(told, err=True)
    emit = None if out else emitter(chosen)
    tally = answer_all(
        classifier, pictures, kind=chosen, out=out, emit=emit, batch_size=batch_size, max_pixels=max_pixels,
        morphology=morphology, owners=owners, um_per_px=um_per_px, order=order, anew=replace, quiet=quiet,
        as_json=progress == "json",
    )  # fmt: skip
    if not quiet and (said := pictures.left_out_words()):
        click.echo(said, err=True)
    return 1 if tally["unreadable"] else 0
