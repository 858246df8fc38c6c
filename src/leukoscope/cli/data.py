"""`leukoscope data`: look at a data set before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._data import CLASSES, given_classes
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import show_lost
from leukoscope.cli.leaks import audit

if TYPE_CHECKING:
    from leukoscope.datasets.synthetic import Layout


@click.group()
def data() -> None:
    """Index, verify and audit data sets."""


data.add_command(audit)


@data.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--reader", default="auto", show_default=True, metavar="NAME",
    help="How the data set is laid out, such as cnmc or folders; a name that is none is answered with all.",
)  # fmt: skip
@CLASSES
@click.option("--one-class", is_flag=True, help="Accept class folders or a table that hold one class only.")
@click.option("--resolution", is_flag=True, help="Say what the pictures' size in pixels tells of the class.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the manifest to this CSV file.")
@keeps_results()
def index(path: Path, reader: str, one_class: bool, resolution: bool, out: Path | None) -> None:
    """Read the data set at PATH and count what it holds.

    PATH is a C-NMC 2019 tree, ALL-IDB1 or ALL-IDB2, a folder with class folders, or a CSV file with the columns path
    and label. The resolution of ALL-IDB is always looked at, as it is known to tell the class.
    """
    from leukoscope.datasets.facts import caveats, published_in, resolution_leak
    from leukoscope.datasets.readers import read_dataset
    from leukoscope.datasets.record import LABEL_WORDS
    from leukoscope.text import natural

    manifest = read_dataset(path, reader=reader, both_classes=not one_class, classes=given_classes())
    records = manifest.records
    subjects = Counter(record.subject for record in records if record.subject)
    groups = manifest.patients().sizes()
    alone = sum(not record.subject and not record.group for record in records)
    click.echo(f"{manifest.name}: {len(manifest):,} pictures under {manifest.root}")
    _show("class", Counter(LABEL_WORDS[record.label] or "unknown" for record in records).items())
    _show("source", sorted(Counter(record.source for record in records).items()))
    folds = Counter("none" if record.fold is None else str(record.fold) for record in records)
    _show("official fold", sorted(folds.items()))
    click.echo(f"{len(subjects):,} subjects{_sizes(subjects)}")
    click.echo(f"{len(groups):,} patient groups{_sizes(groups)}")
    for group in sorted({r.group for r in records if r.group and r.group != r.subject}, key=natural):
        members = sorted({r.subject for r in records if r.group == group and r.subject}, key=natural)
        click.echo(f"  group {group}: subjects {', '.join(members)}, {groups[group]:,} pictures")
    if alone:
        click.echo(f"{alone:,} pictures have no subject: each counts as a group of its own")
    held = Counter(record.source.rpartition("/")[2] for record in records)
    published = published_in(manifest)
    for facts in published:
        if facts.pictures not in (None, held[facts.name]):
            click.echo(f"{facts.name}: {held[facts.name]} of the {facts.pictures} published pictures")
    for sentence in caveats(manifest):
        click.echo(f"note: {sentence}")
    leak = resolution_leak(manifest) if resolution or any(facts.resolution_tells for facts in published) else None
    if leak is not None:
        click.echo(f"note: {leak.sentence()}")
    elif resolution:
        click.echo("all pictures have one size, or one class is missing: resolution tells nothing")
    click.echo(f"fingerprint {manifest.fingerprint()}")
    if out is not None:
        manifest.write_csv(out)
        click.echo(f"wrote {out}")


@data.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--cells", "count", type=click.IntRange(min=1), default=240, show_default=True, help="How many pictures.")
@click.option("--subjects", type=click.IntRange(min=2), default=12, show_default=True, help="Of how many people.")
@click.option(
    "--layout",
    type=click.Choice(("cnmc", "folders")),
    default="cnmc",
    show_default=True,
    help="The official tree of C-NMC 2019, or class/subject/picture.",
)
@click.option("--size", type=click.IntRange(min=64), default=450, show_default=True, help="Side in pixels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same pictures.")
def render(folder: Path, count: int, subjects: int, layout: Layout, size: int, seed: int) -> None:
    """Draw labelled cells of nobody into FOLDER, to try the other verbs on.

    Half of the subjects have blasts. Figures measured on drawn cells say nothing about real ones.
    """
    from leukoscope.datasets.synthetic import write_synthetic

    made = write_synthetic(folder, count=count, seed=seed, layout=layout, subjects=subjects, size=size)
    click.echo(f"drew {len(made):,} cells of {subjects} subjects under {folder}; they are nobody's")


@data.command("combine")
@CLASSES
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="CSV file to write.")
@keeps_results()
def combine_sets(paths: tuple[Path, ...], out: Path) -> None:
    """Make one data set of several, which `train` and `evaluate` take as --data; pictures stay where they are."""
    from leukoscope.datasets.combine import combine, parts_of
    from leukoscope.datasets.facts import caveats
    from leukoscope.datasets.readers import read_dataset

    if len(paths) < 2:
        raise click.UsageError("give at least two data sets")
    manifest = combine([read_dataset(path, both_classes=False, classes=given_classes()) for path in paths])
    manifest.write_csv(out)
    _show(manifest.name, sorted(Counter(parts_of(manifest).tolist()).items()))
    for sentence in caveats(manifest):
        click.echo(f"note: {sentence}")
    click.echo(f"fingerprint {manifest.fingerprint()}\nwrote {out}")


@data.command()
@CLASSES
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the cells.")
@click.option("--jobs", type=click.IntRange(min=1), help="Threads to use.")
@click.pass_context
def cut(context: click.Context, path: Path, out: Path, jobs: int | None) -> None:
    """Cut the cells of crops, or the blasts that ALL-IDB1 lists, out of their surroundings and put them on black.

    Exit code: 0 all cut, 1 some pictures without a cell that can be cut out.
    """
    from leukoscope.datasets.cut import cut_cells
    from leukoscope.datasets.facts import caveats
    from leukoscope.datasets.readers import read_dataset

    manifest = read_dataset(path, both_classes=False, classes=given_classes())
    done = cut_cells(manifest, out, jobs=jobs)
    click.echo(f"{len(done.manifest):,} cells out of {done.pictures:,} pictures, at their own scale: none is known")
    show_lost([(each.path, each.reason) for each in done.failed], word="left out")
    for sentence in caveats(done.manifest):
        click.echo(f"note: {sentence}")
    click.echo(f"wrote {done.manifest.root / 'manifest.csv'}")
    if done.failed:
        context.exit(1)


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--table",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV file with the columns path, sha256 and size.",
)
@click.option("--partial", is_flag=True, help="Accept that pictures are missing or re-encoded.")
@click.pass_context
def verify(context: click.Context, folder: Path, table: Path, partial: bool) -> None:
    """Compare the files under FOLDER with a table of checksums; exit with 1 unless all is fine."""
    from leukoscope.datasets.pictures import shorten
    from leukoscope.datasets.verify import verify_checksums

    report = verify_checksums(folder, table)
    click.echo(f"{len(report.ok):,} files are as published")
    for word, paths in (
        ("altered", report.altered),
        ("missing", report.missing),
        ("re-encoded, not verified", report.re_encoded),
        ("not in the table", report.extra),
    ):
        if paths:
            click.echo(f"{len(paths):,} {word}: {shorten(paths, 5)}")
    if not report.fine(partial=partial):
        context.exit(1)


def _show(title: str, counts: Iterable[tuple[str, int]]) -> None:
    click.echo(f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts))


def _sizes(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    return f" of {min(counts.values()):,} to {max(counts.values()):,} pictures"
