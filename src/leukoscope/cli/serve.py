"""`leukoscope serve`: the workbench of a laboratory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._options import TRUST

if TYPE_CHECKING:
    from leukoscope.service.settings import ServiceSettings

DATA = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path("leukoscope-workbench"),
    show_default=True, envvar="LEUKOSCOPE_WORKBENCH", help="The one folder of the workbench.",
)  # fmt: skip
DATABASE = click.option(
    "--database", envvar="LEUKOSCOPE_DATABASE", help="URL of a PostgreSQL database.  [default: SQLite in --data]"
)


@click.group(invoke_without_command=True)
@DATA
@DATABASE
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Port to listen on.")
@click.option("--root-path", default="", help="Path under which a proxy shows the workbench, such as /leukoscope.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle that answers at the first start.")
@TRUST
@click.option("--watch", type=click.Path(path_type=Path, file_okay=False), help="Folder whose subfolders become cases.")
@click.option(
    "--app", "pocket", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of `leukoscope app build`, served under /app/ to everyone who reaches the workbench.",
)  # fmt: skip
@click.option(
    "--slides", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with whole slides and the results of `leukoscope slide` on them, which may become parts of cases.",
)  # fmt: skip
@click.option("--demo", is_flag=True, help="Rendered cells of nobody, and accounts whose password is shown.")
@click.pass_context
def serve(
    context: click.Context, data: Path, database: str | None, host: str, port: int, root_path: str,
    bundle: Path | None, trust: tuple[str, ...], watch: Path | None, pocket: Path | None, slides: Path | None,
    demo: bool,
) -> None:  # fmt: skip
    """Serve the workbench: look through answers, correct them, sign, and teach the model.

    One process, one port, one folder. The first start prints a link with which the administrator is made. Passwords
    travel over plain HTTP only on this machine itself; for others put a proxy with TLS before it.
    """
    if context.invoked_subcommand is not None:
        return
    needed()
    if demo and context.get_parameter_source("data") is not click.core.ParameterSource.COMMANDLINE:
        data = Path("leukoscope-workbench-demo")
    from leukoscope.bundle.read import bundle_folder
    from leukoscope.bundle.signature import TRUST_VARIABLE
    from leukoscope.service.serve import serve as run
    from leukoscope.service.settings import ServiceSettings

    if trust:
        os.environ[TRUST_VARIABLE] = os.pathsep.join(trust)  # for the processes that answer, too
    settings = ServiceSettings(
        data=data.absolute(), database=database, host=host, port=port, root_path=root_path.rstrip("/"),
        bundle=None if bundle is None else bundle_folder(bundle).absolute(),
        watch=None if watch is None else watch.absolute(), pocket=None if pocket is None else pocket.absolute(),
        slides=None if slides is None else slides.absolute(),
    )  # fmt: skip
    run(settings, click.echo, demo=demo)


@serve.command()
@DATA
@DATABASE
@click.option(
    "--anchor", multiple=True, help="A hash that was noted elsewhere, as on a report; it must be in the chain."
)
def verify(data: Path, database: str | None, anchor: tuple[str, ...]) -> int:
    """Look through everything that was recorded; needs no server, and disturbs none.

    Exit code: 0 sound, 1 altered, 2 wrong usage.
    """
    needed()
    from leukoscope.service.serve import verify_folder

    found = verify_folder(_settings(data, database), anchor)
    click.echo(f"{found.events} events, head {found.head}")
    for fault in found.faults:
        click.echo(f"NOT SOUND: {fault}")
    if found.sound:
        click.echo("sound: every event follows the one before it, every row is that of its event")
    return 0 if found.sound else 1


@serve.command()
@DATA
@DATABASE
@click.argument("to", type=click.Path(path_type=Path))
def backup(data: Path, database: str | None, to: Path) -> None:
    """Copy the workbench into the new folder TO, also while it is served.

    The backup of a PostgreSQL database is a workbench with SQLite.
    """
    needed()
    from leukoscope.service.serve import back_up

    size = back_up(_settings(data, database), to.absolute())
    click.echo(f"backup: {to} ({size:,} bytes)")


@serve.command()
@DATA
@DATABASE
@click.argument("backup_folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore(data: Path, database: str | None, backup_folder: Path) -> None:
    """Put a backup in the place of a workbench that is not served; what stood there is kept beside it.

    With --database the rows go into that PostgreSQL database, which must be empty.
    """
    needed()
    from leukoscope.service.serve import restore as put_back

    found = put_back(backup_folder.absolute(), _settings(data, database))
    click.echo(f"restored: {found.events} events, head {found.head}")


def needed() -> None:
    """Say so in one line where the extra is not installed."""
    from importlib.util import find_spec

    from leukoscope.errors import missing_extra

    if any(find_spec(name) is None for name in ("alembic", "argon2", "fastapi", "reportlab", "sqlalchemy", "uvicorn")):
        raise missing_extra("the workbench", "serve")


def _settings(data: Path, database: str | None) -> ServiceSettings:
    from leukoscope.service.settings import ServiceSettings

    return ServiceSettings(data=data.absolute(), database=database)
