"""How work that takes long says how far it is: one protocol for whoever works and whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

#: Called with how many items were newly done; work in the midst of its caller's stage takes this alone.
Advance = Callable[[int], None]


class Progress(Protocol):
    """Shows stages of work, and lines between them."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A stage of ``total`` items, to be held open while it lasts.

        >>> with SILENT.stage("reading", 2) as advance:
        ...     advance(2)
        """

    def say(self, line: str) -> None:
        """One line on what is done now or was found."""


class Silent:
    """A progress that shows nothing."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Nothing is shown."""
        return nullcontext(_nothing)

    def say(self, line: str) -> None:
        """Nothing is said."""


def _nothing(_done: int) -> None:
    pass


SILENT: Final[Progress] = Silent()
