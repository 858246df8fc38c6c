"""One database, SQLite in a file or PostgreSQL by its URL: short writes, one after the other, and steady reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from leukoscope.errors import LeukoscopeError, missing_extra
from leukoscope.service.problems import Problem

BUSY_SECONDS = 10
#: Of the one lock that writers of PostgreSQL take: `leuk` in ASCII.
WRITER = 0x6C65756B


class Database:
    """Where all rows are. May be shared by threads.

    Args:
        url: of SQLAlchemy, `sqlite:///...` or `postgresql+psycopg://...`.

    Raises:
        MissingExtraError: PostgreSQL is asked for and its driver is not installed.
        LeukoscopeError: the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _engine(url)
        except ImportError as error:
            raise missing_extra("a PostgreSQL database", "postgres") from error
        self.dialect = self.engine.dialect.name
        self._lock = threading.Lock()
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise LeukoscopeError(
                f"the database does not answer ({_first_line(error)})",
                path=self.engine.url.render_as_string(hide_password=True),
                remedy="check its URL, and that it runs",
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database, and writes nothing."""
        with _known_faults(), self.engine.connect() as connection:
            if self.dialect != "sqlite":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection that writes alone: all of it is stored when the block ends, or nothing.

        No picture is touched and nothing is waited for inside.
        """
        with _known_faults():
            if self.dialect == "sqlite":
                with (
                    self._lock,
                    self.engine.connect().execution_options(leukoscope_write=True) as connection,
                    connection.begin(),
                ):
                    yield connection
                return
            with self.engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER})
                yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def _known_faults() -> Iterator[None]:
    """Faults of the database that a user can do something about, as problems."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig)
        if "the case is signed" in said:
            raise Problem(409, "the case is signed", remedy="amend it with a reason first") from error
        if "only grows" in said or "never overwritten" in said:
            raise Problem(409, _first_line(error), remedy="what was recorded stays; add to it instead") from error
        if "NUL (0x00)" in said:
            raise Problem(422, "a text holds a zero byte", remedy="leave it out") from error
        if "disk is full" in said or "No space left" in said:
            raise Problem(
                507, "the disk is full: nothing was stored", remedy="free disk space and try again"
            ) from error
        if "database is locked" in said or "disk I/O error" in said:
            raise Problem(
                503, f"the database cannot be written now ({_first_line(error)})", remedy="try again"
            ) from error
        raise


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).splitlines() or [""])[0]


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=8, pool_pre_ping=True)
    engine = create_engine(
        url, pool_size=8, max_overflow=40, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late for a snapshot
        cursor = connection.cursor()
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("leukoscope_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
