"""`leukoscope federate`: several laboratories measure one bundle, and no picture leaves its home."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._data import GROUPS, data_option, open_data, unseen_cells
from leukoscope.cli._options import BUNDLE, THREADS


@click.group()
def federate() -> None:
    """Measure one bundle at several laboratories: each sends a signed file of counts, a centre pools them.

    What is in the file stands in docs/laboratories.md, field by field.
    """


@federate.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def key(path: Path) -> None:
    """Make a site's key. The file stays at the site; others know it by the line that is printed."""
    from leukoscope.federation.keys import new_key

    made = new_key(path)
    click.echo(f"public key: {made.public}")


@federate.command()
@BUNDLE
@data_option()
@GROUPS
@click.option("--site", required=True, help="Name of the laboratory, as others shall read it.")
@click.option("--key", "key_file", type=click.Path(path_type=Path), required=True, help="From `federate key`.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to send.")
@click.option("--bins", type=click.IntRange(10, 2000), default=200, show_default=True, help="Of the logits.")
@click.option(
    "--min-cells", type=click.IntRange(1), default=5, show_default=True,
    help="Patients with fewer cells are counted together.",
)  # fmt: skip
@click.option("--epsilon", type=click.FloatRange(0, min_open=True), help="Privacy budget a cell: noise on each count.")
@click.option(
    "--secret", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that all sites share: tells a patient who was seen at two of them.",
)  # fmt: skip
@THREADS
def summary(
    bundle: Path | None,
    data: tuple[Path, ...],
    groups: Path | None,
    site: str,
    key_file: Path,
    out: Path,
    bins: int,
    min_cells: int,
    epsilon: float | None,
    secret: Path | None,
    threads: int | None,
) -> None:
    """Answer for the labelled cells of --data, and write what may leave the laboratory.

    Patients that the bundle was trained on are left out. Nothing is sent: the file is yours to read and to send.
    """
    from leukoscope.bundle.read import default_bundle, read_bundle
    from leukoscope.cli._show import Terminal
    from leukoscope.federation.keys import read_key
    from leukoscope.federation.summary import summarise_site
    from leukoscope.files import write_text
    from leukoscope.inference.classifier import Classifier

    own = read_key(key_file)
    chosen = read_bundle(bundle or default_bundle())
    cells = unseen_cells(chosen, open_data(data, groups))
    with Terminal().stage("pictures", len(cells)) as advance:
        found = summarise_site(
            Classifier(chosen, threads=threads), cells, site, bins=bins, min_cells=min_cells, epsilon=epsilon,
            secret=None if secret is None else secret.read_bytes(), progress=advance,
        )  # fmt: skip
    text = found.signed(own).to_text()
    write_text(out, text)
    click.echo(f"{found.cells:,} cells of {found.patients} patient groups in {len(found.groups)} counts: {out}")
    click.echo(f"{len(text) / 1e3:.1f} kB leave the laboratory if you send this file; no picture, no name of a patient")


@federate.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the report.")
@click.option("--trust", multiple=True, metavar="SITE=KEY", help="Public key that a site's file must be signed with.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
def pool(files: tuple[Path, ...], out: Path, trust: tuple[str, ...], seed: int) -> None:
    """Pool the files of several sites into figures over all of them, by site, and how far they differ."""
    from leukoscope.federation.pool import check_trust, pool_sites
    from leukoscope.federation.report import lines_of, write_pooled
    from leukoscope.federation.summary import read_summary
    from leukoscope.text import RESEARCH_USE, printable

    summaries = [read_summary(file) for file in files]
    check_trust(summaries, trust)
    pooled = pool_sites(summaries, seed=seed)
    page = write_pooled(pooled, out)
    for line in (*lines_of(pooled), *(f"note: {note}" for note in pooled.notes)):
        click.echo(printable(line))
    click.echo(RESEARCH_USE, err=True)
    click.echo(printable(str(page)), err=True)
