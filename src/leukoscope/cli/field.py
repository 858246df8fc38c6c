"""`leukoscope field`: the white cells of whole fields, and of patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._options import BUNDLE, PROVIDER, TRUST
from leukoscope.cli._paths import listed
from leukoscope.cli._patients import by_patient, owners_of
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, research_use

if TYPE_CHECKING:
    from leukoscope.inference.classifier import Classifier
    from leukoscope.smears.normalise import Normalisation


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FIELD_OR_FOLDER...")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("leukoscope-fields"), show_default=True,
    help="Folder for everything written. A run that was stopped goes on there.",
)  # fmt: skip
@BUNDLE
@TRUST
@PROVIDER
@click.option("--um-per-px", type=click.FloatRange(min=0, min_open=True), help="Micrometres per pixel, where known.")
@click.option(
    "--red-cell-um", type=click.FloatRange(2, 15), default=7.5, show_default=True,
    help="Mean diameter of a red cell, by which the scale is read.",
)  # fmt: skip
@click.option(
    "--stain", type=click.Choice(["none", "reinhard"]), default="none", show_default=True,
    help="Bring light and stain to those of the training cells before the model is asked.",
)  # fmt: skip
@by_patient
@click.option("--threads", type=click.IntRange(1, 1024), help="Fields at a time.  [default: one per available core]")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True,
    help="Refuse larger ones. From 40,000,000 on a scan is read in windows; it takes 10 bytes a pixel, in each thread.",
)  # fmt: skip
@click.option(
    "--truth", is_flag=True,
    help="The one folder given is ALL-IDB1 or ALL-IDB2: score what is found and said against its lists and labels.",
)  # fmt: skip
@keeps_results("summary.json", "truth.json", asked=("paths", "truth"))
@research_use
def field(
    paths: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    provider: str | None,
    um_per_px: float | None,
    red_cell_um: float,
    stain: Normalisation,
    by: str | None,
    patients: str | None,
    threads: int | None,
    max_pixels: int,
    truth: bool,
    trust: tuple[str, ...],
) -> int:
    """Find the white cells of smear fields and say for each: blast, normal or refer.

    The size of a pixel that the file states, or the red cells of each field, give its scale; every white cell is
    brought to the model's scale before it is asked. Without either and without --um-per-px the scale is unknown and all
    cells are referred. A picture of one cell on black is a field with one cell.

    Written into --out: report.html, cells.csv, cells.coco.json, summary.json, patients.json (--by patient), and for
    each field fields/*.json, overlays/*.png, cells/*.webp, geojson/*.geojson (QuPath opens these). With --truth
    instead: truth.json and truth-pictures.json.

    Exit code: 0 all pictures read, 1 some unreadable, 2 wrong usage or unusable bundle. Files of a folder that hold no
    picture do not count; they are named, and counted in summary.json.
    """
    from leukoscope.cli._answers import claims, fallen_back
    from leukoscope.inference.answer import HONEST
    from leukoscope.inference.batch import find_pictures, run_fields
    from leukoscope.inference.cells import ReadOptions
    from leukoscope.inference.classifier import load
    from leukoscope.text import printable

    classifier = load(bundle, threads=threads, provider=provider, trust=trust)
    if said := fallen_back(classifier, provider):
        click.echo(said, err=True)
    if truth:
        other = by is not None or patients is not None or red_cell_um != 7.5 or stain != "none"
        return _score(paths, out, classifier, um_per_px, wrong=other)
    pictures = find_pictures(listed(paths))
    owners = owners_of(pictures, by, patients)
    options = ReadOptions(max_pixels, um_per_px, red_cell_um, stain)
    with Terminal().stage("fields", len(pictures)) as progress:
        tally = run_fields(classifier, pictures, out, options, owners=owners, progress=progress)
    counts = ", ".join(f"{tally[name]} {name}" for name in ("blast", "normal", "refer"))
    cells = sum(tally[name] for name in ("blast", "normal", "refer"))
    old = f" ({tally.resumed} of an earlier run)" if tally.resumed else ""
    fields = f"{tally.pictures - tally.unread} field{'' if tally.pictures - tally.unread == 1 else 's'}{old}"
    white = f"{cells} white cell{'' if cells == 1 else 's'}: {counts}"
    click.echo(f"{fields}, {tally.unread} unreadable; {white}", err=True)
    if owners is not None:
        _say_patients(out / "patients.json")
    for line in claims(classifier.bundle, patients=owners is not None):
        click.echo(line, err=True)
    click.echo(HONEST, err=True)
    click.echo(printable(str(out / "report.html")), err=True)
    if said := pictures.left_out_words():
        click.echo(said, err=True)
    return 1 if tally.unread else 0


def _say_patients(path: Path) -> None:
    """The patients' sentences on standard output, and how they are named."""
    import json

    from leukoscope.text import printable

    told = json.loads(path.read_text(encoding="utf-8"))
    for patient in told["patients"]:
        click.echo(printable(f"{patient['patient']}: {patient['words']}"))
        for warning in patient["warnings"]:
            click.echo(printable(f"  {warning}"))
    click.echo(printable(f"patients named by {told['named_by']}"), err=True)


def _score(
    paths: tuple[Path, ...],
    out: Path,
    classifier: Classifier,
    um_per_px: float | None,
    *,
    wrong: bool,
) -> int:
    """ALL-IDB against its own lists of blasts."""
    from leukoscope.studies.allidb.report import FIGURES, allidb_lines, measure_allidb
    from leukoscope.text import printable

    if len(paths) != 1 or wrong:
        raise click.UsageError("--truth takes one folder, and neither patients, --red-cell-um nor --stain")
    figures = measure_allidb(paths[0], classifier, out, um_per_px=um_per_px, progress=Terminal())
    for line in (*allidb_lines(figures), *(f"note: {note}" for note in figures["notes"])):
        click.echo(printable(line))
    click.echo(printable(str(out / FIGURES)), err=True)
    found = figures["as_it_is"]["detection"]
    return 1 if found["unreadable"] else 0
