"""`leukoscope audit`: test a bundle's heat maps, and look for the shortcuts it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leukoscope.cli._data import GROUPS, data_option, open_data
from leukoscope.cli._options import THREADS
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, research_use, show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.studies.audits.audit import Audited, Part


@click.group()
def audit() -> None:
    """Test a bundle's explanations, and look for the shortcuts that it takes.

    Both compare with what must not happen, and end in a verdict by written rules. For what leaks in a data set see
    `leukoscope data audit`.
    """


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of both audits."""
    for decorate in (
        click.argument("bundle", type=click.Path(path_type=Path)),
        data_option(),
        GROUPS,
        click.option("--include-trained", is_flag=True, help="Also use groups that the bundle was trained on."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random."),
        click.option("--out", type=click.Path(path_type=Path), help="Folder for JSON and page.  [default: audit]"),
        click.option("--write", is_flag=True, help="Record figures and verdict in BUNDLE and on its card."),
        THREADS,
    ):
        command = decorate(command)
    return command


@audit.command()
@_shared
@click.option(
    "--cells", type=click.IntRange(min=8), default=240, show_default=True,
    help="How many cells at most, of as many patients as there are.",
)  # fmt: skip
@click.option("--shuffled", type=click.Path(path_type=Path), help="Bundle of the same network, shuffled labels.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of NAME.png and NAME.mask.png: drawn nuclei.")
@keeps_results("explanations.json", default=lambda _: Path("audit"))
@research_use
def explanations(
    bundle: Path,
    data: tuple[Path, ...],
    groups: Path | None,
    include_trained: bool,
    seed: int,
    out: Path | None,
    write: bool,
    threads: int | None,
    cells: int,
    shuffled: Path | None,
    masks: Path | None,
) -> int:
    """Test the heat maps of BUNDLE: do they lie in the cell, and does the answer depend on what they mark?

    Exit code: 0 all read, whatever the verdict; 1 some pictures unreadable; 2 wrong usage or unusable data.
    """
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.inference.classifier import Classifier
    from leukoscope.studies.audits.audit import audit_heat_maps

    chosen = read_bundle(bundle)
    if write:
        place_of(bundle, chosen)
    part = _part(chosen, data, groups, include_trained)
    other = None if shuffled is None else Classifier(read_bundle(shuffled), threads=threads)
    found = audit_heat_maps(
        Classifier(chosen, threads=threads), part, out or Path("audit"), count=cells, shuffled=other, masks=masks,
        seed=seed, progress=Terminal(),
    )  # fmt: skip
    return _end(chosen, found, write=write)


@audit.command()
@_shared
@click.option(
    "--cells", type=click.IntRange(min=8), default=1000, show_default=True,
    help="How many cells at most, of as many patients as there are.",
)  # fmt: skip
@keeps_results("shortcuts.json", default=lambda _: Path("audit"))
@research_use
def shortcuts(
    bundle: Path,
    data: tuple[Path, ...],
    groups: Path | None,
    include_trained: bool,
    seed: int,
    out: Path | None,
    write: bool,
    threads: int | None,
    cells: int,
) -> int:
    """Measure BUNDLE on cells with one cue taken away or left: outline, size, texture, colour, surround.

    Exit code: 0 all read, whatever the verdict; 1 some pictures unreadable; 2 wrong usage or unusable data.
    """
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.inference.classifier import Classifier
    from leukoscope.studies.audits.audit import audit_cues

    chosen = read_bundle(bundle)
    if write:
        place_of(bundle, chosen)
    part = _part(chosen, data, groups, include_trained)
    classifier = Classifier(chosen, threads=threads)
    found = audit_cues(classifier, part, out or Path("audit"), count=cells, seed=seed, progress=Terminal())
    return _end(chosen, found, write=write)


def _part(bundle: Bundle, data: tuple[Path, ...], groups: Path | None, include_trained: bool) -> Part:
    """Labelled pictures of patients that the bundle has not seen."""
    from leukoscope.studies.audits.audit import part_of

    sets = open_data(data, groups, both_classes=True)
    show_lost(sets.failed, word="left out")
    part = part_of(bundle, sets.manifest, include_trained=include_trained)
    if part.left_out_pictures:
        click.echo(f"{part.left_out_pictures} pictures of groups that the bundle has seen are left out", err=True)
    return part


def _end(bundle: Bundle, found: Audited, *, write: bool) -> int:
    click.echo(found.text)
    if write:
        from leukoscope.bundle.write import record_audits

        record_audits(bundle.folder, [found.facts])
        click.echo(f"recorded in {bundle.folder}")
    click.echo(f"wrote {found.page} and {found.page.with_suffix('.json').name}")
    show_lost(found.unreadable)
    if found.unreadable:
        click.echo(f"{len(found.unreadable)} pictures could not be read and are in no figure", err=True)
    return 1 if found.unreadable else 0
