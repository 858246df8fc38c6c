"""`leukoscope audit`: test a bundle's heat maps, and look for the shortcuts it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.data.manifest import Manifest


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
        click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder or CSV of labelled cells."),
        click.option("--groups", type=click.Path(path_type=Path), help="CSV of subject,group."),
        click.option("--include-trained", is_flag=True, help="Also use groups that the bundle was trained on."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random."),
        click.option("--out", type=click.Path(path_type=Path), help="Folder for JSON and page.  [default: audit]"),
        click.option("--threads", type=click.IntRange(min=1), help="Threads to use."),
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
def explanations(
    bundle: Path,
    data: Path,
    groups: Path | None,
    include_trained: bool,
    seed: int,
    out: Path | None,
    threads: int | None,
    cells: int,
    shuffled: Path | None,
    masks: Path | None,
) -> int:
    """Test the heat maps of BUNDLE: where they lie, whether the answer hangs on them, whether they hang on the network.

    Exit code: 0 all read, whatever the verdict; 1 some pictures unreadable; 2 wrong usage or unusable data.
    """
    from leukoscope.bundle.read import read_bundle
    from leukoscope.evaluation.saliency.report import text_of, write_explanations
    from leukoscope.inference.classifier import Classifier
    from leukoscope.studies.explaining import explain_bundle, load_cells, overlay_samples

    chosen = read_bundle(bundle)
    part, context = _part(chosen, data, groups, include_trained)
    classifier = Classifier(chosen, threads=threads)
    other = None if shuffled is None else Classifier(read_bundle(shuffled), threads=threads)
    loaded = load_cells(part, chosen.facts.preparation, count=cells, seed=seed)
    found = explain_bundle(
        classifier, loaded.cells, shuffled=other, masks=masks, seed=seed, context=context,
        progress=lambda stage: click.echo(stage, err=True),
    )  # fmt: skip
    page = write_explanations(found, out or Path("audit"), overlay_samples(classifier, loaded.cells))
    click.echo(text_of(found))
    return _end(page, loaded.unreadable)


@audit.command()
@_shared
@click.option(
    "--cells", type=click.IntRange(min=8), default=1000, show_default=True,
    help="How many cells at most, of as many patients as there are.",
)  # fmt: skip
def shortcuts(
    bundle: Path,
    data: Path,
    groups: Path | None,
    include_trained: bool,
    seed: int,
    out: Path | None,
    threads: int | None,
    cells: int,
) -> int:
    """Measure BUNDLE on cells with one cue taken away or left: outline, size, texture, colour, surround.

    Exit code: 0 all read, whatever the verdict; 1 some pictures unreadable; 2 wrong usage or unusable data.
    """
    from leukoscope.bundle.read import read_bundle
    from leukoscope.cli._progress import progress_bar
    from leukoscope.evaluation.shortcuts.report import text_of, write_shortcuts
    from leukoscope.inference.classifier import Classifier
    from leukoscope.studies.shortcutting import shortcut_bundle

    chosen = read_bundle(bundle)
    part, context = _part(chosen, data, groups, include_trained)
    classifier = Classifier(chosen, threads=threads)
    with progress_bar("asking", 2 * min(cells, len(part))) as bar:
        run = shortcut_bundle(classifier, part, count=cells, seed=seed, context=context, progress=bar)
    page = write_shortcuts(run.result, out or Path("audit"), run.samples)
    click.echo(text_of(run.result))
    return _end(page, run.unreadable)


def _part(bundle: Bundle, data: Path, groups: Path | None, include_trained: bool) -> tuple[Manifest, dict[str, Any]]:
    """Labelled pictures of patients that the bundle has not seen, and what to say of them."""
    from leukoscope.data.groups import apply_groups, read_groups
    from leukoscope.data.readers import read_dataset
    from leukoscope.errors import DataError
    from leukoscope.studies.measuring import unseen_by

    manifest = read_dataset(data).labelled()
    if groups is not None:
        manifest = apply_groups(manifest, read_groups(groups))
    if len(manifest) == 0:
        raise DataError("no picture has a label", path=data, remedy="add class folders or a label column")
    part = manifest if include_trained else unseen_by(bundle, manifest)
    if not len(part):
        raise DataError(
            "the bundle was trained or calibrated on every group of this data set",
            path=data,
            remedy="use other patients, or --include-trained for figures that mean nothing for new ones",
        )
    kind = "all groups, trained ones too" if include_trained else "groups that the bundle has not seen"
    if len(part) < len(manifest):
        click.echo(f"{len(manifest) - len(part)} pictures of groups that the bundle has seen are left out", err=True)
    context: dict[str, Any] = {"data": manifest.name, "fingerprint": manifest.fingerprint(), "patients": kind}
    training = bundle.facts.training
    if training is not None:
        context |= {"recipe": training.recipe, "shortened": training.shortened or "no"}
    return part, context


def _end(page: Path, unreadable: tuple[tuple[str, str], ...]) -> int:
    click.echo(f"wrote {page} and {page.with_suffix('.json').name}")
    for path, reason in unreadable[:10]:
        click.echo(f"unreadable: {path}: {reason}", err=True)
    if unreadable:
        click.echo(f"{len(unreadable)} pictures could not be read and are in no figure", err=True)
    return 1 if unreadable else 0
