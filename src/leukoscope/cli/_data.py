"""What verbs share that take data sets: their options, and the one way to open them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leukoscope.cli._paths import cache_folder

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest
    from leukoscope.datasets.open import Sets

GROUPS = click.option(
    "--groups", type=click.Path(path_type=Path), help="CSV of subject,group; overrides the known groups."
)


def data_option(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--data`, which may be repeated."""
    return click.option(
        "--data", multiple=True, required=required, type=click.Path(path_type=Path),
        help="Folder or CSV of labelled cells, on black or with surroundings; several are combined.",
    )  # fmt: skip


def open_data(
    data: Sequence[Path],
    groups: Path | None = None,
    *,
    label: int | None = None,
    both_classes: bool = False,
    cache: Path | None = None,
    jobs: int | None = None,
) -> Sets:
    """The labelled cells of the data sets; see `leukoscope.datasets.open.open_sets`."""
    from leukoscope.datasets.open import open_sets

    return open_sets(
        data, cut_folder=cache or cache_folder(), groups=groups, label=label, both_classes=both_classes, jobs=jobs,
        say=partial(click.echo, err=True),
    )  # fmt: skip


def unseen_cells(bundle: Bundle, sets: Sets, *, calibrated: bool = True) -> Manifest:
    """The cells of patients that a bundle has not seen; how many others there are is said."""
    from leukoscope.runs.measure import unseen_by

    unseen = unseen_by(bundle, sets.manifest, calibrated=calibrated)
    if len(unseen) < len(sets.manifest):
        left = len(sets.manifest) - len(unseen)
        click.echo(f"{left} cells of patients that the bundle has seen are left out", err=True)
    return unseen
