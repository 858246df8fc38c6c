"""`leukoscope archive`: very many pictures, cut into parts and worked off by as many processes as there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._options import BUNDLE
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, research_use

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from leukoscope.archive.collect import State
    from leukoscope.archive.engines import Engine
    from leukoscope.archive.plan import Listed

ARCHIVE = click.argument("folder", type=click.Path(path_type=Path), metavar="ARCHIVE")


@click.group()
def archive() -> None:
    """Answer for very many pictures: plan the parts, run them, look at the state, collect the rows, report.

    A part is a file that appears whole: what was killed is done again, what is done is done once, and any number of
    `run` may work on one archive at the same time, also on several machines that share the folder.
    """


@archive.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURE|FOLDER|CSV...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the archive, new or empty.")
@BUNDLE
@click.option(
    "--part-size", type=click.IntRange(1), default=2000, show_default=True,
    help="How much goes into one part, in pictures of one cell; large files count as several.",
)  # fmt: skip
@click.option("--um-per-px", type=click.FloatRange(0, min_open=True), help="Micrometres per pixel, where known.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True,
    help="Larger pictures are unreadable.",
)  # fmt: skip
def plan(
    paths: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    part_size: int,
    um_per_px: float | None,
    max_pixels: int,
) -> None:
    """Cut pictures into parts. A CSV has the column path, from the folder of the CSV on.

    Its columns patient and date (2026-01-31, or 2026-01), where it has them, are for `report`. The bundle is copied
    into the archive. Nothing is read of the pictures but their size.
    """
    from collections import Counter

    from leukoscope.archive.plan import plan as plan_parts
    from leukoscope.bundle.read import default_bundle
    from leukoscope.inference.cells import ReadOptions
    from leukoscope.inference.sources import left_out_words

    left_out: Counter[str] = Counter()
    found = plan_parts(
        _pictures(paths, left_out), out, bundle=bundle or default_bundle(),
        options=ReadOptions(max_pixels, um_per_px), part_size=part_size, left_out=left_out,
    )  # fmt: skip
    planned = found.planned
    click.echo(f"{planned.pictures:,} pictures of {planned.size / 1e6:,.0f} MB in {planned.parts:,} parts: {out}")
    if told := left_out_words(left_out):
        click.echo(told, err=True)


@archive.command()
@ARCHIVE
@click.option(
    "--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True,
    help="Processes of this machine, or Dask (extra `dask`).",
)  # fmt: skip
@click.option("--address", help="Of a Dask scheduler; its workers see the same folders.  [default: start workers here]")
@click.option("--workers", type=click.IntRange(1, 4096), help="Processes to start.  [default: one per available core]")
@research_use
def run(folder: Path, engine: Engine, address: str | None, workers: int | None) -> int:
    """Answer for all parts that have no rows yet. May be stopped, given again, and given several times at once.

    Exit code: 0 all parts are there, 1 some were given up, 2 wrong usage or a damaged archive.
    """
    from leukoscope.archive.collect import state_of
    from leukoscope.archive.engines import run_archive
    from leukoscope.archive.plan import Archive
    from leukoscope.text import printable

    if address is not None and engine != "dask":
        raise click.UsageError("--address is that of a Dask scheduler: give --engine dask too")
    found = Archive.open(folder)
    trouble = run_archive(found, engine=engine, address=address, workers=workers, progress=Terminal())
    for line in trouble:
        click.echo(printable(line), err=True)
    _say(state_of(found))
    return 1 if trouble else 0


@archive.command()
@ARCHIVE
@click.option("--json", "as_json", is_flag=True, help="As one JSON value.")
@research_use
def status(folder: Path, as_json: bool) -> None:
    """Say how far an archive is. Every byte of every part is checked."""
    import json

    from leukoscope.archive.collect import state_of
    from leukoscope.archive.plan import Archive

    found = Archive.open(folder)
    state = state_of(found)
    if as_json:
        click.echo(json.dumps(found.planned.model_dump() | state.to_json() | {"planned": found.planned.pictures}))
    else:
        _say(state)


@archive.command()
@ARCHIVE
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="*.jsonl, *.csv, or *.parquet (extra `parquet`).",
)  # fmt: skip
@click.option("--partial", is_flag=True, help="Also where parts are missing.")
@keeps_results()
@research_use
def collect(folder: Path, out: Path, partial: bool) -> int:
    """Write the rows of all parts into one file, in the order of the plan: those of `predict`, without times.

    Exit code: 0 all rows are there, 1 parts are missing (--partial), 2 wrong usage or a damaged archive.
    """
    from leukoscope.archive.collect import collect as collect_rows
    from leukoscope.archive.plan import Archive
    from leukoscope.text import printable

    state = collect_rows(Archive.open(folder), out, partial=partial)
    _say(state)
    click.echo(f"written: {printable(str(out))}", err=True)
    return 1 if state.missing else 0


@archive.command()
@ARCHIVE
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True,
    help="The page.",
)  # fmt: skip
@keeps_results()
@research_use
def report(folder: Path, out: Path) -> int:
    """Write a page of figures: patients, reasons to refer, drift over months, pictures worth a look first.

    Parts are read one by one. Patients are those of the plan's table, else the folders that hold the pictures.

    Exit code: 0 all parts are in it, 1 parts are missing, 2 wrong usage or a damaged archive.
    """
    from leukoscope.archive.plan import Archive
    from leukoscope.archive.report import write_report
    from leukoscope.text import printable

    figures = write_report(Archive.open(folder), out)
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(figures.decisions.items()))
    click.echo(f"{len(figures.patients):,} patients: {counts}")
    if figures.missing:
        click.echo(f"{len(figures.missing)} parts have no rows yet and are left out", err=True)
    click.echo(printable(str(out)), err=True)
    return 1 if figures.missing else 0


def _say(state: State) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(state.decisions.items()))
    done = state.parts - len(state.missing)
    told = f"{done:,} of {state.parts:,} parts, {state.pictures:,} pictures, {state.rows:,} rows"
    click.echo(f"{told}: {counts}" if counts else told)
    if state.missing:
        first = ", ".join(map(str, state.missing[:10]))
        more = len(state.missing) - 10
        click.echo(f"missing: part {first}" + (f" and {more:,} more" if more > 0 else ""), err=True)


def _pictures(paths: tuple[Path, ...], left_out: Counter[str]) -> Iterator[Listed]:
    """The pictures that paths mean, one by one; a CSV lists them."""
    import re
    from os import fspath

    from leukoscope.archive.plan import Listed
    from leukoscope.errors import DataError, PictureError
    from leukoscope.inference.sources import each_picture
    from leukoscope.tables import stream_rows

    for path in paths:
        if path.suffix.lower() == ".csv":
            for number, row in stream_rows(path, ("path",)):
                listed = path.parent / row["path"].replace("\\", "/")
                month = row.get("date", "")[:7]
                if month and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
                    raise DataError(
                        f"line {number}: {row['date']!r} is no date", path=path, remedy="give it as 2026-01-31"
                    )
                yield Listed(fspath(listed), listed, row.get("subject") or None, month or None)
        else:
            for item in each_picture([path], left_out):
                yield Listed(str(item.path) if isinstance(item, PictureError) else fspath(item), item)
