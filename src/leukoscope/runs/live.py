"""The page of a run's figures by epoch, kept fresh while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from leukoscope.files import write_text
from leukoscope.reports.learning import learning_page
from leukoscope.runs.run import read_history

PAGE: Final = "curves.html"
_SHARE: Final = 10  # drawing takes at most one part in so many of the time


class LivePage:
    """`curves.html` of one run or of several, from the logs of their epochs. May be shared by threads.

    Args:
        folder: that gets the page.
        runs: folders of the runs, by the names that are shown.
        title: of the page.
    """

    def __init__(self, folder: Path, runs: Mapping[str, Path], title: str) -> None:
        self._page, self._runs, self._title = folder / PAGE, dict(runs), title
        self._cost, self._last = 0.0, -1e9
        self._one = threading.Lock()

    def draw(self, *, finished: bool = False) -> None:
        """Write the page anew, unless that has just been done; at the end in any case.

        Raises:
            LeukoscopeError: the folder cannot be written.
        """
        if not finished and time.monotonic() - self._last < _SHARE * self._cost:
            return
        if self._one.acquire(blocking=finished):  # where another thread draws it just now, that is enough
            try:
                self._write(finished=finished)
            finally:
                self._one.release()

    def _write(self, *, finished: bool) -> None:
        started = time.monotonic()
        histories = {name: each for key, folder in self._runs.items() for name, each in _histories(key, folder)}
        write_text(self._page, learning_page(histories, title=self._title, finished=finished))
        self._last = time.monotonic()
        self._cost = self._last - started


def _histories(name: str, folder: Path) -> list[tuple[str, list[dict[str, float]]]]:
    """A run's own figures by epoch; of an ensemble, those of its members."""
    members = sorted((folder / "members").glob("*"), key=lambda each: each.name)
    parts = {f"{name}, member {at}": each for at, each in enumerate(members, 1)} or {name: folder}
    return [(each, read_history(place)) for each, place in parts.items()]
