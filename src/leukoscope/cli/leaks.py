"""`leukoscope data audit`: which pictures show one physical cell, and what that does to splits."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, show_lost


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="DIR|MANIFEST")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("leukoscope-audit"), show_default=True,
    help="Folder for audit.html, audit.json and groups.csv.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes to use.  [default: one per available core]")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps what was computed, so that a killed audit goes on.  [default: OUT/work]",
)  # fmt: skip
@click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A split to check (JSON).")
@click.option("--any-angle", is_flag=True, help="Search copies turned by any angle; slower.")
@keeps_results("audit.json")
def audit(path: Path, out: Path, jobs: int | None, work: Path | None, split: Path | None, any_angle: bool) -> int:
    """Find the pictures that show the same physical cell, under one subject or under several.

    Finds byte- and pixel-identical files, near-duplicates (re-encoded, resized, quarter turns, mirrored) and cells
    photographed again. Subjects that share cells become one patient group in groups.csv.

    DIR|MANIFEST is a data set as for `leukoscope data index`, or any folder of pictures.

    Exit code: 0 all read, 1 some pictures unreadable, 2 wrong usage or unusable data.
    """
    from leukoscope.datasets.leaks import audit as run_audit
    from leukoscope.datasets.leaks.audit import read_any, read_parts
    from leukoscope.datasets.leaks.report import write_report
    from leukoscope.files import exclusive
    from leukoscope.machine import cpu_count

    manifest, why = read_any(path)
    if why:
        click.echo(f"read as pictures without label and subject, as it is no data set: {why}", err=True)
    parts = None if split is None else read_parts(split)
    with exclusive(out, "audits into"):
        result = run_audit(
            manifest, jobs=jobs or cpu_count(), progress=Terminal(), work_folder=work or out / "work",
            any_angle=any_angle,
        )  # fmt: skip
        facts = write_report(result, out, split=parts)
    click.echo(facts["verdict"])
    for kind, count in facts["links_by_kind"].items():
        click.echo(f"  {kind}: {count['across_subjects']:,} across subjects, {count['other']:,} other")
    for pair in result.review:
        click.echo(f"  for review: subjects {pair.first} and {pair.second}, a single link of score {pair.best:.2f}")
    if not result.groups:
        click.echo("no subject is known: links join pictures only, and grouping is impossible")
    if result.whole:
        click.echo(f"{result.whole:,} pictures have no black surround and were compared as whole pictures")
    if result.blank:
        click.echo(f"{len(result.blank):,} pictures are blank and were compared with none, such as {result.blank[0]}")
    if result.collisions:
        one = ", ".join(result.collisions[0])
        click.echo(f"{len(result.collisions):,} names are equal but for upper and lower case, such as {one}")
    show_lost(result.unreadable)
    click.echo(f"wrote {out / 'audit.html'}")
    return 1 if result.unreadable else 0
