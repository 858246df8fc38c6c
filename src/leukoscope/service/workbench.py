"""The workbench: everything that the routes and the worker share, made once for each process."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from leukoscope.child import Child
from leukoscope.errors import LeukoscopeError
from leukoscope.service.casework.store import Store
from leukoscope.service.casework.together import Together
from leukoscope.service.database.chain import Chain, read_key
from leukoscope.service.database.engine import Database
from leukoscope.service.database.migrate import upgrade
from leukoscope.service.people.accounts import Accounts
from leukoscope.service.people.sessions import Sessions
from leukoscope.service.settings import ServiceSettings

SYSTEM = "system"  # who acts where no person does
_AT_ONCE = 16  # pictures that are looked at or recorded together


class Workbench:
    """One folder, opened by one server.

    Attributes:
        settings: what it was told.
        database, chain, accounts, sessions, store: its parts.
        progress: how far work is that is being done, by its identifier: words, done, of.
        decoder: the process that looks at what comes in; ``asker``: the one that answers; ``viewer``: the one that
            draws tiles, started when the first is asked.
        looking, recording: what is done at once for pictures that come at the same time.
        taken: bytes of the pictures of a case, of the cases that were added to; a bound is held against them.
        drawing: held while cells of a slide are drawn, so that none is drawn twice at once.

    Raises:
        LeukoscopeError: another server has the folder, or the database cannot be used.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        for folder in (settings.data, settings.derived, settings.bundles, settings.exports):
            folder.mkdir(parents=True, exist_ok=True)
        settings.data.chmod(0o700)
        self._lock = FileLock(settings.data / "server.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LeukoscopeError(
                "another workbench has this folder", path=settings.data,
                remedy="end it first, or choose another --data folder",
            ) from error  # fmt: skip
        try:
            self.database = Database(settings.url)
            upgrade(self.database)
            self.chain = Chain(read_key(settings.chain_key, create=True))
        except BaseException:
            self._lock.release()
            raise
        limits = settings.limits
        self.accounts = Accounts(self.database, self.chain)
        self.sessions = Sessions(self.database, self.chain)
        self.store = Store(settings.store, limits.disk_reserve)
        self.decoder = Child(limits.child(limits.decode_seconds))
        self.viewer = Child(limits.child(limits.decode_seconds))
        self.progress: dict[str, dict[str, Any]] = {}
        self.looking: Together[Any, Any] = Together(_AT_ONCE)
        self.recording: Together[Any, tuple[bool, dict[str, Any]]] = Together(_AT_ONCE)
        self.taken: dict[str, int] = {}
        self.drawing = Lock()
        self.asker = Child(limits.child(10 * limits.decode_seconds))

    def drawn(self, run: str, what: str) -> Path:
        """Where something lies that was drawn of a picture, by its run: `1-small.jpg`."""
        return self.settings.derived / run[-2:] / f"{run}-{what}"

    def say(self, job: str, words: str, done: int = 0, of: int = 0) -> None:
        """Tell how far a piece of work is; ``of`` 0: nobody knows."""
        self.progress[job] = {"words": words, "done": done, "of": of}

    def close(self) -> None:
        """End its processes and let the folder go."""
        self.decoder.close()
        self.asker.close()
        self.viewer.close()
        self.sessions.write_seen()
        self.database.close()
        self._lock.release()
