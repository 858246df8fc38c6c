"""What verbs share when they show: how far a pass over many pictures is, and which pictures were lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

_FIRST: Final = 10  # lost pictures that are named


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; call what it yields with the number done since the last call."""
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def show_lost(pictures: Sequence[tuple[object, object]], *, word: str = "unreadable", err: bool = True) -> None:
    """Name the first pictures that were lost, each with the reason, and count the others."""
    for path, reason in pictures[:_FIRST]:
        click.echo(f"{word}: {path}: {reason}", err=err)
    if len(pictures) > _FIRST:
        click.echo(f"{word}: {len(pictures) - _FIRST:,} more", err=err)
