"""Bundles that a workbench knows: one is active and answers, others are tried or were retired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.bundle.schema import FACTS_FILE
from leukoscope.errors import BundleError
from leukoscope.service.database.tables import BundleRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import SYSTEM, Workbench


def know_bundle(
    bench: Workbench, folder: Path, by: str = SYSTEM, *, parent: str | None = None, note: str = ""
) -> dict[str, Any]:
    """Enter a bundle, once; the first one is active, all others are on trial.

    Raises:
        BundleError: it is none, or damaged.
    """
    found = read_bundle(folder)
    facts, digest = found.facts, found.digest
    with bench.database.write() as connection:
        known = connection.execute(select(BundleRow).where(BundleRow.digest == digest)).mappings().first()
        if known is not None:
            if known["path"] != str(folder):
                connection.execute(update(BundleRow).where(BundleRow.digest == digest).values(path=str(folder)))
            return dict(known) | {"path": str(folder)}
        state = "trial" if _active(connection) is not None else "active"
        row = {
            "id": new_id(), "digest": digest, "name": facts.name, "version": facts.version, "state": state,
            "path": str(folder), "parent": parent, "created": utc_now(), "note": note,
        }  # fmt: skip
        connection.execute(insert(BundleRow).values(**row))
        bench.chain.append(connection, by, "bundle.known", row["id"] or "", {"digest": digest, "state": state})
    return row


def active_bundle(bench: Workbench) -> dict[str, Any]:
    """The bundle that answers.

    Raises:
        BundleError: it vanished.
    """
    with bench.database.read() as connection:
        row = _active(connection)
    if row is None:
        return know_bundle(bench, bench.settings.bundle or default_bundle())
    if not (Path(row["path"]) / FACTS_FILE).is_file():
        raise BundleError("the active bundle vanished", path=row["path"], remedy="put it back, or activate another")
    return dict(row)


def find_bundles(bench: Workbench) -> None:
    """Bundles that were made here are where the folder is now, as after a backup was restored elsewhere."""
    with bench.database.read() as connection:
        rows = connection.execute(select(BundleRow.id, BundleRow.path, BundleRow.digest)).all()
    for row in rows:
        here = bench.settings.bundles / Path(row.path).name
        if not Path(row.path).is_dir() and here.is_dir() and read_bundle(here).digest == row.digest:
            with bench.database.write() as connection:
                connection.execute(update(BundleRow).where(BundleRow.id == row.id).values(path=str(here)))


def get_bundle(bench: Workbench, bundle_id: str) -> dict[str, Any]:
    """One bundle.

    Raises:
        Problem: there is none.
    """
    with bench.database.read() as connection:
        row = connection.execute(select(BundleRow).where(BundleRow.id == bundle_id)).mappings().first()
    if row is None:
        raise Problem(404, "there is no such bundle")
    return dict(row)


def list_bundles(bench: Workbench) -> list[dict[str, Any]]:
    """All bundles, the newest first, without their places on the disk."""
    with bench.database.read() as connection:
        rows = connection.execute(select(BundleRow).order_by(BundleRow.id.desc())).mappings()
        return [{key: value for key, value in row.items() if key != "path"} for row in rows]


def _active(connection: Connection) -> RowMapping | None:
    return connection.execute(select(BundleRow).where(BundleRow.state == "active")).mappings().first()
