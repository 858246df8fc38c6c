"""`leukoscope dicom`: pictures from DICOM files and servers, and the answers back to them."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._options import BUNDLE
from leukoscope.cli._show import research_use


@click.group()
def dicom() -> None:
    """Take pictures out of DICOM, and give the answers back as DICOM (extra `dicom`).

    `get` takes pictures, `field` answers for them, `put` gives back, `show` reads what was given back.
    """


@dicom.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE|FOLDER|URL...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the pictures.")
@click.option("--study", help="Of a server: only this study, by its unique identifier.")
@click.option("--patient", help="Of a server: only this patient, by the identifier there.")
@click.option("--modality", help="Of a server: only this modality, such as SM, GM or XC.")
@click.option("--key", type=click.Path(path_type=Path), help="File with the secret that pseudonyms are made with.")
@click.option(
    "--identified", is_flag=True, help="Keep names, dates and numbers of patients. Needed to give back to them."
)
@click.option("--max-pixels", type=click.IntRange(1), default=100_000_000, help="Larger pictures are told.")
def get(
    sources: tuple[str, ...], out: Path, study: str | None, patient: str | None, modality: str | None,
    key: Path | None, identified: bool, max_pixels: int,
) -> int:  # fmt: skip
    """Take the pictures out of DICOM files, folders, or a DICOMweb server, into a folder for each patient.

    Patients go under pseudonyms: names, numbers and dates are left behind, unless --identified. Each frame becomes a
    TIFF that states its scale; levels of whole slides are copied to slides/. The same command goes on where it was
    stopped. A header that a server wants is taken from LEUKOSCOPE_DICOMWEB_HEADER.

    Exit code: 0 all taken, 1 some could not be, 2 wrong usage or no answer.
    """
    from leukoscope.dicom.intake import take_pictures
    from leukoscope.inference.sources import left_out_words
    from leukoscope.text import printable

    asked = {"StudyInstanceUID": study, "PatientID": patient, "Modality": modality}
    filters = {name: value for name, value in asked.items() if value}
    taken = take_pictures(sources, out, filters=filters, key=key, identified=identified, max_pixels=max_pixels)
    for line in taken.trouble:
        click.echo(printable(line), err=True)
    old = f", {taken.earlier} of an earlier run" if taken.earlier else ""
    click.echo(f"{taken.instances} instances{old}: {taken.pictures} pictures, {taken.levels} levels of slides: {out}")
    how = "under their own names" if identified else "under pseudonyms"
    click.echo(f"{len(taken.patients)} new folders of patients, {how}", err=True)
    if taken.burned:
        click.echo(f"{taken.burned} instances say that writing is burned in: it may name the patient", err=True)
    if said := left_out_words(taken.left_out):
        click.echo(said, err=True)
    return 1 if taken.trouble else 0


@dicom.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="PICTURES")
@click.argument("results", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RESULTS")
@click.option("--to", required=True, metavar="FOLDER|URL", help="Where the objects go.")
@click.option(
    "--readings", type=click.Path(path_type=Path, exists=True),
    help="What readers called cells: a review of a gallery or the app (JSON), readings.csv of a workbench's export, or "
    "a CSV with path, cell, reader, label.",
)  # fmt: skip
@click.option("--reader", help="Who gave the labels of a review.")
@click.option("--pdf", type=click.Path(path_type=Path, exists=True), help="A printed report of the patient.")
@click.option("--patient", help="Only this patient, by the name of the folder.")
@BUNDLE
@research_use
def put(
    folder: Path, results: Path, to: str, readings: Path | None, reader: str | None, pdf: Path | None,
    patient: str | None, bundle: Path | None,
) -> None:  # fmt: skip
    """Give answers of `leukoscope field` back as DICOM: annotations of cells, and statements on patients.

    PICTURES is the folder of `get`, RESULTS the --out folder of `field` for it. Statements need `field --patients
    folder`. What readers called cells becomes objects of their own.
    """
    from leukoscope.bundle.read import default_bundle, read_bundle
    from leukoscope.dicom.objects import Machine
    from leukoscope.dicom.results import give_results

    used = read_bundle(bundle or default_bundle())
    machine = Machine(used.facts.name, used.digest, used.facts.decision.threshold)
    given = give_results(
        folder, results, to, machine=machine, readings=readings, reader=reader, pdf=pdf, patient=patient
    )
    click.echo(f"{given.annotations} annotations, {given.statements} statements, {given.printed} PDF: {to}")
    if given.unanswered:
        click.echo(f"{given.unanswered} pictures have no answer with a cell", err=True)


@dicom.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE|FOLDER..."
)
def show(paths: tuple[Path, ...]) -> None:
    """Say what annotations and reports of `put` hold, as JSON lines; other DICOM files by their kind."""
    import json

    from leukoscope.dicom.results import told_objects

    for value in told_objects(paths):
        click.echo(json.dumps(value))
