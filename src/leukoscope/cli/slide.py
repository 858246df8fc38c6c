"""`leukoscope slide`: a whole slide, its monolayer read at full resolution."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._options import BUNDLE, THREADS
from leukoscope.cli._show import Terminal, research_use


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), metavar="SLIDE")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the results.")
@BUNDLE
@THREADS
@click.option("--um-per-px", type=click.FloatRange(0, min_open=True), help="Micrometres per pixel, where known.")
@click.option(
    "--red-cell-um", type=click.FloatRange(2, 15), default=7.5, show_default=True,
    help="Mean diameter of a red cell, by which the scale is checked.",
)  # fmt: skip
@click.option(
    "--window", type=click.IntRange(1024, 8192), default=2048, show_default=True, help="Side of a window in pixels."
)
@research_use
def slide(
    path: Path, out: Path, bundle: Path | None, threads: int | None, um_per_px: float | None, red_cell_um: float,
    window: int,
) -> int:  # fmt: skip
    """Find where on a slide cells can be judged, and answer for the white cells there (extra `slides`).

    SLIDE is a file of a scanner (SVS, NDPI, MRXS, tiled TIFF, OME-TIFF and others), or a folder of DICOM files. A map
    is made on a low level; windows in which red cells lie side by side are read at the full level. The scale is the
    file's, checked by the red cells. The same command goes on where it was stopped.

    Written into --out: report.html with the map, cells.csv, cells.jsonl, cells.geojson (QuPath), slide.json.

    Exit code: 0 all chosen windows read, 1 some could not be read, 2 the slide cannot be read, or wrong usage.
    """
    from leukoscope.inference.answer import HONEST
    from leukoscope.inference.cells import ReadOptions
    from leukoscope.inference.classifier import load
    from leukoscope.slides.results import read_slide
    from leukoscope.text import printable

    options = ReadOptions(um_per_px=um_per_px, red_cell_um=red_cell_um)
    done = read_slide(path, out, load(bundle, threads=threads), options, window=window, progress=Terminal())
    tally, found = done.tally, done.survey
    counts = ", ".join(f"{tally.decisions[name]} {name}" for name in ("blast", "normal", "refer"))
    old = f" ({tally.earlier} of an earlier run)" if tally.earlier else ""
    click.echo(f"{tally.windows} windows{old} of {len(found.windows)} show a single layer of cells: {counts}")
    for text in (*found.ruler.warnings, *(f"{count} windows: {why}" for why, count in tally.faults.items())):
        click.echo(printable(text), err=True)
    unread = found.count(None)
    if unread:
        click.echo(f"{unread} windows could not be looked at", err=True)
    click.echo(HONEST, err=True)
    click.echo(printable(str(done.page)), err=True)
    return 1 if tally.faults or unread else 0
