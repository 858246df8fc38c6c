"""A folder that is watched: each of its subfolders is a case, each picture in it comes in once it is wholly there.

It is polled, not listened to: file systems on a network, where microscopes write, tell nobody. A file is taken when its
size and its time have stood still for two looks. Links are not followed, and nothing is changed in the folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sqlalchemy import select

from leukoscope.datasets.pictures import SUFFIXES
from leukoscope.service.casework.cases import make_case
from leukoscope.service.casework.intake import take_picture
from leukoscope.service.database.tables import CaseRow, UserRow
from leukoscope.service.people.accounts import Person
from leukoscope.service.people.roles import rights
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import SYSTEM, Workbench
from leukoscope.text import printable

LOGIN = "watched-folder"
SECONDS = 2.0
Stood = tuple[int, int]
_log = logging.getLogger("leukoscope.service")


class Watch(threading.Thread):
    """Looks into a folder until it is told to end.

    Args:
        bench: where pictures go.
        folder: its subfolders are cases; a subfolder's name is order number and subject.
        wake: called when pictures came.
    """

    def __init__(self, bench: Workbench, folder: Path, wake: Callable[[], None]) -> None:
        super().__init__(name="leukoscope-watch", daemon=True)
        self._bench = bench
        self._folder = folder
        self._wake = wake
        self._ended = threading.Event()
        self._stood: dict[Path, Stood] = {}
        self._done: dict[Path, Stood] = {}
        self.refused: dict[Path, str] = {}

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join(10)

    def run(self) -> None:
        """Look, again and again."""
        person = watcher(self._bench)
        while not self._ended.wait(SECONDS):
            self.look_once(person)

    def look_once(self, person: Person) -> int:
        """Take what has stood still since the last look; how many pictures came."""
        came = 0
        for path, state in self._files():
            if self._done.get(path) == state:
                continue
            if self._stood.get(path) != state:
                self._stood[path] = state
                continue
            try:
                came += self._take(person, path)
            except Problem as problem:
                if problem.status >= 500:  # the disk is full, the database is busy: the next look will do
                    continue
                self.refused[path] = str(problem)
                _log.warning("%s is not taken: %s", printable(str(path)), problem)
            except OSError as error:
                self.refused[path] = str(error.strerror or error)
                continue
            self._done[path] = state
        if came:
            self._wake()
        return came

    def _files(self) -> list[tuple[Path, Stood]]:
        found = []
        try:
            cases = sorted(entry.path for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False))
        except OSError:  # a share that is away for a while
            return []
        for case in cases:
            for entry in sorted(os.scandir(case), key=lambda entry: entry.name):
                path = Path(entry.path)
                if path.suffix.lower() not in SUFFIXES or entry.name.startswith("."):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append((path, (status.st_size, status.st_mtime_ns)))
        return found

    def _take(self, person: Person, path: Path) -> bool:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            data = file.read(self._bench.settings.limits.picture_bytes + 1)
        digest = hashlib.sha256(data).hexdigest()

        async def body() -> AsyncIterator[bytes]:
            yield data

        case = self._case(person, path.parent.name[:100])
        new, _ = asyncio.run(
            take_picture(self._bench, person, case, digest, path.name, len(data), body, source="watch")
        )
        return new

    def _case(self, person: Person, name: str) -> str:
        query = select(CaseRow.id).where(CaseRow.order_no == name, CaseRow.created_by == person.id)
        with self._bench.database.read() as connection:
            known = connection.scalar(query.order_by(CaseRow.id.desc()).limit(1))
        return known or str(make_case(self._bench, person, order_no=name, subject=name)["id"])


def watcher(bench: Workbench) -> Person:
    """The account under which a watched folder gives pictures; nobody can log in with it."""
    with bench.database.read() as connection:
        row = connection.execute(select(UserRow.id, UserRow.name).where(UserRow.login == LOGIN)).first()
    if row is None:
        return bench.accounts.make_closed(SYSTEM, LOGIN, "Watched folder", ["reader"])
    return Person(row.id, LOGIN, row.name, ("reader",), rights(["reader"]))
