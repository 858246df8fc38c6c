"""`leukoscope data`: look at a data set before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from leukoscope.cli.audit import audit


@click.group()
def data() -> None:
    """Index, verify and audit data sets."""


data.add_command(audit)


@data.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--reader",
    type=click.Choice(["auto", "cnmc", "folders", "table"]),
    default="auto",
    show_default=True,
    help="How the data set is laid out.",
)
@click.option("--one-class", is_flag=True, help="Accept class folders or a table that hold one class only.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the manifest to this CSV file.")
def index(path: Path, reader: str, one_class: bool, out: Path | None) -> None:
    """Read the data set at PATH and count what it holds.

    PATH is a C-NMC 2019 tree, a folder with class folders, or a CSV file with the columns path and label.
    """
    from leukoscope.data.groups import natural
    from leukoscope.data.readers import read_dataset
    from leukoscope.data.record import LABEL_WORDS

    manifest = read_dataset(path, reader=reader, both_classes=not one_class)
    records = manifest.records
    subjects = Counter(record.subject for record in records if record.subject)
    groups = Counter(group for group in manifest.groups().tolist() if not group.startswith("picture:"))
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
    click.echo(f"fingerprint {manifest.fingerprint()}")
    if out is not None:
        manifest.write_csv(out)
        click.echo(f"wrote {out}")


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
    from leukoscope.data.readers.pictures import shorten
    from leukoscope.data.verify import verify_checksums

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


def _sizes(counts: Counter[str]) -> str:
    if not counts:
        return ""
    return f" of {min(counts.values()):,} to {max(counts.values()):,} pictures"
