"""Bringing a database to the tables of this version, and refusing those of a newer one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from leukoscope.errors import LeukoscopeError
from leukoscope.service.database.engine import Database

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the tables to a revision, all of it or nothing.

    Raises:
        LeukoscopeError: the database was written by a newer version.
    """
    config = _config()
    found = current_revision(database)
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise LeukoscopeError(
            f"the database is of a newer version (its tables are those of revision {found})",
            path=database.engine.url.render_as_string(hide_password=True),
            remedy="install that version of leukoscope, or restore an older backup",
        )
    if found == ScriptDirectory.from_config(config).get_current_head() and revision == "head":
        return
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the tables back to an older revision; what only newer ones hold is lost."""
    config = _config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def current_revision(database: Database) -> str | None:
    """The revision of the tables; None: there are none."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _SCRIPTS.as_posix())
    return config
