"""What verbs share that take data sets: their options, and the one way to open them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest
    from leukoscope.datasets.open import Sets

GROUPS = click.option(
    "--groups", type=click.Path(path_type=Path), help="CSV of subject,group; overrides the known groups."
)


_CLASSES: Final = "leukoscope.classes"  # where a run of the command keeps its class words


def _keep_classes(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    from leukoscope.datasets.record import class_words

    context.meta[_CLASSES] = class_words(value)


CLASSES = click.option(
    "--classes", multiple=True, metavar="blast=WORDS|normal=WORDS", callback=_keep_classes, expose_value=False,
    help="What folders or labels of other names mean, such as blast=Early,Pre,Pro; give it for each class.",
)  # fmt: skip


def given_classes() -> Mapping[str, int]:
    """The words for the classes that `--classes` gave, or ours."""
    from leukoscope.datasets.record import CLASS_WORDS

    words: Mapping[str, int] = click.get_current_context().meta.get(_CLASSES, CLASS_WORDS)
    return words


def data_option(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options `--data`, which may be repeated, and `--classes`, which says what its class names mean."""
    data = click.option(
        "--data", multiple=True, required=required, type=click.Path(path_type=Path),
        help="Folder or CSV of labelled cells, on black or with surroundings; several are combined.",
    )  # fmt: skip
    return lambda command: data(CLASSES(command))


def cache_folder() -> Path:
    """Folder for prepared frames: LEUKOSCOPE_CACHE, or `leukoscope` in the user's cache folder."""
    named = os.environ.get("LEUKOSCOPE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leukoscope"


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
        classes=given_classes(), say=partial(click.echo, err=True),
    )  # fmt: skip


def unseen_cells(bundle: Bundle, sets: Sets, *, calibrated: bool = True) -> Manifest:
    """The cells of patients that a bundle has not seen; how many others there are is said."""
    from leukoscope.runs.measure import unseen_by

    unseen = unseen_by(bundle, sets.manifest, calibrated=calibrated)
    if len(unseen) < len(sets.manifest):
        left = len(sets.manifest) - len(unseen)
        click.echo(f"{left} cells of patients that the bundle has seen are left out", err=True)
    return unseen
