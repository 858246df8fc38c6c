"""How the command line shows how far a pass over many pictures is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; call what it yields with the number done since the last call."""
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update
