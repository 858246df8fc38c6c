"""What verbs share when they show: how far long work is, which pictures were lost, what answers are not for."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from leukoscope.progress import Advance
from leukoscope.text import RESEARCH_USE

_FIRST: Final = 10  # lost pictures that are named
_Verb = TypeVar("_Verb", bound=Callable[..., Any])


def research_use(verb: _Verb) -> _Verb:
    """A verb that answers or reports: once done, it says in one line what its answers are not for.

    Not said where standard error is to be quiet, or JSON is asked for.
    """

    @functools.wraps(verb)
    def saying(*arguments: Any, **values: Any) -> Any:
        try:
            code = verb(*arguments, **values)
        except SystemExit:  # done, and some pictures were unreadable
            click.echo(RESEARCH_USE, err=True)
            raise
        if not values.get("quiet") and not values.get("as_json"):
            click.echo(RESEARCH_USE, err=True)
        return code

    saying.research_use = True  # type: ignore[attr-defined]  # tests ask which verbs say it
    return saying  # type: ignore[return-value]


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
