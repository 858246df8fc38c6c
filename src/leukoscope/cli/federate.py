"""`leukoscope federate`: several laboratories measure one bundle, and no picture leaves its home."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from leukoscope.cli._data import GROUPS, cache_folder, data_option, open_data, unseen_cells
from leukoscope.cli._options import BUNDLE, CACHE, THREADS
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, research_use


@click.group()
def federate() -> None:
    """Measure, or train, one bundle at several laboratories: each sends a signed file of sums, a centre joins them.

    To measure: `key`, `summary`, `pool`. To train its head: `key`, `train`, `combine`, round by round, then `bundle`.
    What is in the files stands in docs/laboratories.md, field by field.
    """


@federate.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def key(path: Path) -> None:
    """Make a site's key. The file stays at the site; others know it by the line that is printed."""
    from leukoscope.keys import new_key

    made = new_key(path)
    click.echo(f"public key: {made.public}")


TRUST = click.option(
    "--trust", multiple=True, metavar="SITE=KEY", help="Public key that a site's file must be signed with."
)
SITE = click.option("--site", required=True, help="Name of the laboratory, as others shall read it.")
KEY = click.option("--key", "key_file", type=click.Path(path_type=Path), required=True, help="From `federate key`.")


@federate.command()
@BUNDLE
@data_option()
@GROUPS
@SITE
@KEY
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
@keeps_results()
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
    from leukoscope.federation.summary import summarise_site
    from leukoscope.files import write_text
    from leukoscope.inference.classifier import Classifier
    from leukoscope.keys import read_key

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
@TRUST
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@keeps_results("pooled.json")
@research_use
def pool(files: tuple[Path, ...], out: Path, trust: tuple[str, ...], seed: int) -> None:
    """Pool the files of several sites into figures over all of them, by site, and how far they differ."""
    from leukoscope.federation.admission import check_trust
    from leukoscope.federation.pool import pool_sites
    from leukoscope.federation.report import lines_of, write_pooled
    from leukoscope.federation.summary import read_summary
    from leukoscope.text import printable

    summaries = [read_summary(file) for file in files]
    check_trust(summaries, trust)
    pooled = pool_sites(summaries, seed=seed)
    page = write_pooled(pooled, out)
    for line in (*lines_of(pooled), *(f"note: {note}" for note in pooled.notes)):
        click.echo(printable(line))
    click.echo(printable(str(page)), err=True)


@federate.command()
@BUNDLE
@data_option()
@GROUPS
@SITE
@KEY
@click.option("--state", type=click.Path(path_type=Path), help="The centre's newest file.  [default: none, round 0]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to send.")
@click.option(
    "--keep-aside", type=click.FloatRange(0, 0.5), default=0.2, show_default=True,
    help="Share of the cells, in whole patients, that are not trained on: measure the new bundle on these.",
)  # fmt: skip
@click.option("--aside", type=click.Path(path_type=Path, dir_okay=False), help="Table of the cells kept aside.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which patients are kept aside.")
@click.option(
    "--balance", type=click.Choice(["groups", "none"]), default="groups", show_default=True,
    help="Whether a patient counts by the root of its cells, or by its cells. All sites alike.",
)  # fmt: skip
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="What left, by line.  [default: OUT.log]")
@CACHE
@THREADS
@keeps_results()
def train(
    bundle: Path | None,
    data: tuple[Path, ...],
    groups: Path | None,
    site: str,
    key_file: Path,
    state: Path | None,
    out: Path,
    keep_aside: float,
    aside: Path | None,
    seed: int,
    balance: Literal["groups", "none"],
    log: Path | None,
    cache: Path | None,
    threads: int | None,
) -> None:
    """At a site: write this round's sums over the labelled cells of --data.

    The bundle's network stays as it is; what is trained is a new head on its embedding. Round 0 sums moments, each
    further round the slope and curvature of the loss at the head in --state. Nothing is sent: the file is yours to read
    and to send. The same --data, --keep-aside and --seed in every round.
    """
    from leukoscope.bundle.read import default_bundle, read_bundle
    from leukoscope.federation.parcel import read_parcel
    from leukoscope.federation.site import kept_aside, log_sent, site_cells, site_parcel
    from leukoscope.files import write_bytes
    from leukoscope.keys import read_key

    own = read_key(key_file)
    told = None if state is None else read_parcel(state, "state")
    chosen = read_bundle(bundle or default_bundle())
    learned, held = kept_aside(unseen_cells(chosen, open_data(data, groups)), keep_aside, seed)
    with Terminal().stage("pictures", len(learned)) as advance:
        cells = site_cells(chosen, learned, cache or cache_folder(), threads=threads, progress=advance)
    parcel = site_parcel(told, cells, site=site, model=chosen.digest, key=own, balance=balance)
    if aside is not None:
        held.write_csv(aside)
    write_bytes(out, parcel.to_bytes())
    for line in log_sent(parcel, out, log or out.with_name(f"{out.name}.log")):
        click.echo(line)
    if len(held):
        click.echo(f"{len(held):,} cells of {len(set(held.groups().tolist()))} patients are kept aside, to measure on")


@federate.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option(
    "--state", type=click.Path(path_type=Path), help="That the sites have answered.  [default: none, round 0]"
)
@KEY
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The next state, to send.")
@TRUST
@click.option("--least", type=click.IntRange(1), default=2, show_default=True, help="Sites that must be left.")
@click.option(
    "--strength", type=click.FloatRange(0, min_open=True), default=0.01, show_default=True,
    help="Of the pull towards no head, chosen in round 0.",
)  # fmt: skip
@keeps_results()
def combine(
    files: tuple[Path, ...],
    state: Path | None,
    key_file: Path,
    out: Path,
    trust: tuple[str, ...],
    least: int,
    strength: float,
) -> int:
    """At the centre: join the sites' files of a round into the next state, from which `bundle` makes a bundle.

    A file that does not count (damaged, forged, stale, with numbers that are none) is refused by name, and the others
    are joined.

    Exit code: 0 all files counted, 1 some were refused, 2 nothing could be joined.
    """
    from leukoscope.errors import DataError
    from leukoscope.federation.admission import trusted_keys
    from leukoscope.federation.centre import centre_step
    from leukoscope.federation.parcel import read_parcel
    from leukoscope.files import write_bytes
    from leukoscope.keys import read_key
    from leukoscope.text import printable

    refused, parcels = [], []
    for file in files:
        try:
            parcels.append(read_parcel(file, "round"))
        except DataError as error:
            refused.append(str(error))
    made = centre_step(
        None if state is None else read_parcel(state, "state"), parcels, key=read_key(key_file), strength=strength,
        trust=trusted_keys(trust), least=least,
    )  # fmt: skip
    refused += [f"{each.site} {each.why}" for each in made.refused]
    for line in refused:
        click.echo(printable(f"refused: {line}"), err=True)
    write_bytes(out, made.state.to_bytes())
    head = made.state.head
    loss = "" if made.head.loss is None else f", loss before it {made.head.loss:.6f}"
    click.echo(printable(f"{len(made.sites)} sites ({', '.join(made.sites)}), {head.cells:,} cells{loss}"))
    if made.head.done:
        click.echo("the head is that of the joined cells: further rounds change nothing")
    else:
        click.echo(f"send {out} to the sites for round {head.round}, or stop here")
    return 1 if refused else 0


@federate.command("bundle")
@click.argument("state", type=click.Path(path_type=Path, dir_okay=False))
@BUNDLE
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the new bundle."
)
@keeps_results()
def bundle_of(state: Path, bundle: Path | None, out: Path) -> None:
    """Write the agreed bundle with the head that the centre's file STATE holds. Each site can do it for itself.

    Nothing is measured and no band is set: let each site measure it on the patients that it kept aside (`summary`).
    """
    from leukoscope.bundle.head import GraphHead
    from leukoscope.bundle.read import default_bundle, read_bundle
    from leukoscope.federation.centre import federated_bundle
    from leukoscope.federation.parcel import read_parcel

    parent = read_bundle(bundle or default_bundle())
    federated_bundle(parent, read_parcel(state, "state"), GraphHead(parent).with_linear).write(out)
    click.echo(f"bundle: {out}")
