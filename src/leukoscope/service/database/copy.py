"""All rows of one database in another, of the same kind or not: backups of PostgreSQL, and the way between the two."""

from __future__ import annotations

from sqlalchemy import func, insert, select, text

from leukoscope.errors import LeukoscopeError
from leukoscope.service.database.engine import Database
from leukoscope.service.database.migrate import upgrade
from leukoscope.service.database.tables import Base
from leukoscope.service.database.triggers import drop_statements, trigger_statements

_AT_ONCE = 500


def copy_rows(source: Database, target: Database) -> int:
    """Copy one moment of a database into an empty one: all of it or nothing; how many rows.

    Args:
        source: it is only read, and may be served.
        target: its tables are made.

    Raises:
        LeukoscopeError: the target holds rows.
    """
    upgrade(target)
    count = 0
    with source.read() as reading, target.write() as writing:
        tables = Base.metadata.sorted_tables
        if any(writing.scalar(select(func.count()).select_from(table)) for table in tables):
            raise LeukoscopeError(
                "the database is not empty", path=target.engine.url.render_as_string(hide_password=True),
                remedy="name a new one: nothing is overwritten",
            )  # fmt: skip
        for statement in drop_statements(target.dialect):  # a signed case takes nothing, not even its own rows
            writing.execute(text(statement))
        for table in tables:
            rows = reading.execute(select(table), execution_options={"yield_per": _AT_ONCE}).mappings()
            for part in rows.partitions():
                writing.execute(insert(table), [dict(row) for row in part])
                count += len(part)
        for statement in trigger_statements(target.dialect):
            writing.execute(text(statement.replace(":", r"\:")))
    return count
