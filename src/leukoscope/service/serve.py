"""Starting a workbench and keeping it: serve, verify, backup, restore."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import count
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from leukoscope.bundle.signature import read_trusted, trusted_here
from leukoscope.errors import LeukoscopeError
from leukoscope.files import atomic_folder, swap
from leukoscope.service.app import make_app
from leukoscope.service.casework.bundles import active_bundle, find_bundles
from leukoscope.service.database.audit import verify_database
from leukoscope.service.database.chain import Chain, ChainVerdict, read_key
from leukoscope.service.database.copy import copy_rows
from leukoscope.service.database.engine import Database
from leukoscope.service.demo import furnish
from leukoscope.service.settings import ServiceSettings
from leukoscope.service.workbench import Workbench
from leukoscope.text import RESEARCH_USE

_KEPT = ("chain.key", "anchors.log", "store", "derived", "bundles", "exports")
_ROWS = "workbench.sqlite"


def serve(settings: ServiceSettings, say: Callable[[str], None], *, demo: bool = False) -> None:
    """Serve until interrupted; a demonstration has cells and accounts of its own.

    Raises:
        LeukoscopeError: the folder or the port is taken, the database or the bundle cannot be used.
    """
    bench = Workbench(settings)
    try:
        find_bundles(bench)
        bundle = active_bundle(bench)
        if trusted_here():
            read_trusted(bundle["path"])
        address = f"http://{settings.host}:{settings.port}{settings.root_path}/"
        if demo:
            furnish(bench, say)
        token = bench.accounts.first_link()
        say(RESEARCH_USE)
        say(f"workbench: {address}   data: {settings.data}")
        if token is not None:
            say(f"first start: make the administrator here, once and within a day: {address}#/first/{token}")
        _listen(make_app(bench), settings)
    finally:
        bench.close()


def _listen(app: FastAPI, settings: ServiceSettings) -> None:
    """Answer requests until a signal comes, which ends this verb as it ends the others: see `cli._errors`.

    In the main thread uvicorn would take SIGINT and SIGTERM for itself, and be torn apart by others.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=settings.host, port=settings.port, log_level="warning", server_header=False,
            timeout_keep_alive=30, h11_max_incomplete_event_size=64 * 1024, limit_concurrency=200,
        )
    )  # fmt: skip
    served = threading.Thread(target=server.run, name="leukoscope-server", daemon=True)
    served.start()
    try:
        while served.is_alive():
            served.join(1)  # Windows hears nothing while it waits
    finally:
        server.should_exit = True
        served.join()
    if not server.started:
        raise LeukoscopeError(
            f"nothing can be served at {settings.host}:{settings.port}",
            remedy="end what listens there, or choose another --port or --host",
        )


def verify_folder(settings: ServiceSettings, anchors: Iterable[str]) -> ChainVerdict:
    """Verify a workbench without a server; one that runs is not disturbed.

    The hashes in `anchors.log` are asked for too.
    """
    _there(settings)
    chain = Chain(read_key(settings.chain_key, create=False))
    noted = settings.anchors.read_text(encoding="ascii").splitlines() if settings.anchors.is_file() else []
    database = Database(settings.url)
    try:
        return verify_database(database, chain, [*anchors, *(line.split()[2] for line in noted if line.strip())])
    finally:
        database.close()


def back_up(settings: ServiceSettings, to: Path) -> int:
    """Copy a workbench into a new folder, also while it is served; the bytes of all files.

    The rows of a PostgreSQL database become an SQLite file there: every backup is a workbench of its own.

    Raises:
        LeukoscopeError: the folder is not new, or there is no workbench.
    """
    _there(settings)
    if to.exists():
        raise LeukoscopeError("is there already", path=to, remedy="name a new folder")
    with atomic_folder(to, mode=0o700) as part:
        try:
            if settings.database is None:
                with (
                    closing(sqlite3.connect(settings.data / _ROWS)) as source,
                    closing(sqlite3.connect(part / _ROWS)) as target,
                ):
                    source.backup(target)
            else:
                _copied(settings, ServiceSettings(data=part))
        except (sqlite3.Error, SQLAlchemyError) as error:
            raise LeukoscopeError(
                f"the database cannot be copied ({error})", path=to, remedy="free disk space or choose another folder"
            ) from error
        for name in _KEPT:  # after the rows: a file of which the copy of the database knows is there
            found = settings.data / name
            if found.is_dir():
                shutil.copytree(found, part / name, ignore=shutil.ignore_patterns("incoming"))
            elif found.is_file():
                shutil.copy2(found, part / name)
    return sum(path.stat().st_size for path in to.rglob("*") if path.is_file())


def restore(backup: Path, settings: ServiceSettings) -> ChainVerdict:
    """Put a backup in the place of a workbench that is not served; what stood there is kept beside it.

    With a PostgreSQL database the rows go there, which must be empty.

    Raises:
        LeukoscopeError: the backup is none or does not verify, a server has the folder, or the database holds rows.
    """
    verdict = verify_folder(ServiceSettings(data=backup), ())
    if not verdict.sound:
        raise LeukoscopeError(
            f"the backup does not verify ({verdict.faults[0]})", path=backup, remedy="take another one"
        )
    data = settings.data
    if data.exists():
        lock = FileLock(data / "server.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LeukoscopeError("a workbench serves this folder", path=data, remedy="end it first") from error
        lock.release()
    names = (f"{data.name}.before-restore{'' if number == 1 else f'-{number}'}" for number in count(1))
    aside = next(place for place in map(data.with_name, names) if not place.exists())
    with atomic_folder(aside if data.exists() else data, mode=0o700) as part:
        shutil.copytree(backup, part, dirs_exist_ok=True)
        if settings.database is not None:
            _copied(ServiceSettings(data=part), settings)
            for rows in part.glob(f"{_ROWS}*"):
                rows.unlink()
    if aside.exists():
        swap(aside, data)
    return verdict


def _there(settings: ServiceSettings) -> None:
    """Refuse a folder that holds no workbench."""
    if settings.database is None and not (settings.data / _ROWS).is_file():
        raise LeukoscopeError("there is no workbench", path=settings.data, remedy="name its folder with --data")


def _copied(one: ServiceSettings, other: ServiceSettings) -> None:
    source, target = Database(one.url), Database(other.url)
    try:
        copy_rows(source, target)
    finally:
        source.close()
        target.close()
