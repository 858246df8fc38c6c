"""What verbs share when they show: how far long work is, and which pictures were lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

from leukoscope.progress import Advance

_FIRST: Final = 10  # lost pictures that are named


class JsonProgress:
    """Progress on stderr as lines of JSON, for a program that started this one."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """A line for each step: what is done, of how much."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            click.echo(json.dumps({"stage": label, "done": done, "total": total}), err=True)

        advance(0)
        yield advance


class Terminal:
    """Progress on stderr: a bar for each stage, or its label alone where stderr is no terminal."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """A bar of ``total`` items."""
        with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
            yield bar.update

    def say(self, line: str) -> None:
        """The line."""
        click.echo(line, err=True)


def show_lost(pictures: Sequence[tuple[object, object]], *, word: str = "unreadable", err: bool = True) -> None:
    """Name the first pictures that were lost, each with the reason, and count the others."""
    for path, reason in pictures[:_FIRST]:
        click.echo(f"{word}: {path}: {reason}", err=err)
    if len(pictures) > _FIRST:
        click.echo(f"{word}: {len(pictures) - _FIRST:,} more", err=err)
