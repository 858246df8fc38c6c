"""Work that waits: claimed for a time, so that what a killed server left is done by the next one."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import insert, or_, select, update

from leukoscope.service.database.chain import canonical
from leukoscope.service.database.engine import Database
from leukoscope.service.database.tables import JobRow, PictureRow
from leukoscope.service.moments import new_id, utc_after, utc_now

LEASE_SECONDS = 900
MOST_ATTEMPTS = 3
PLACES = 1_000_000  # cells that a picture may have, for their order in the case
ANSWERING = ("ask", "slide")  # kinds of work that give a case its cells


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed piece of work."""

    id: str
    kind: str
    case_id: str | None
    subject: str
    body: dict[str, Any]
    attempts: int
    by: str


def add_job(database: Database, kind: str, subject: str, by: str, body: dict[str, Any]) -> str:
    """Put work into the queue."""
    made = new_id()
    with database.write() as connection:
        connection.execute(
            insert(JobRow).values(
                id=made, kind=kind, subject=subject, body=canonical(body), state="waiting", attempts=0,
                created=utc_now(), by=by,
            )
        )  # fmt: skip
    return made


def claim_jobs(database: Database, kinds: Collection[str], most: int, *, least: int = 1, pixels: int = 0) -> list[Job]:
    """Claim the oldest waiting work of these kinds: a few pictures of one case, or one other piece.

    Args:
        database: where it waits.
        kinds: of the work.
        most: pictures that are claimed together.
        least: where fewer pieces wait, none is claimed.
        pixels: that the pictures may have together, where there are several.
    """
    left = or_(JobRow.state == "waiting", (JobRow.state == "running") & (JobRow.claimed_until < utc_now()))
    free = left & JobRow.kind.in_(kinds)
    with database.read() as connection:  # most of the time there is nothing: no writer is held up
        if len(connection.scalars(select(JobRow.id).where(free).limit(least)).all()) < least:
            return []
    with database.write() as connection:
        first = connection.execute(select(JobRow).where(free).order_by(JobRow.id).limit(1)).mappings().first()
        if first is None:
            return []
        rows = [first]
        if first["kind"] == "ask" and first["attempts"] == 0:
            same = (
                select(JobRow, (PictureRow.width * PictureRow.height).label("pixels"))
                .join(PictureRow, PictureRow.sha256 == JobRow.subject)
                .where(free, JobRow.kind == "ask", JobRow.case_id == first["case_id"], JobRow.attempts == 0)
            )
            found = list(connection.execute(same.order_by(JobRow.id).limit(most)).mappings())
            size = accumulate(row["pixels"] for row in found)
            rows = [
                row for number, (row, all_) in enumerate(zip(found, size, strict=True)) if not number or all_ <= pixels
            ]
        held = update(JobRow).where(JobRow.id.in_([row["id"] for row in rows]))
        until = utc_after(LEASE_SECONDS)
        connection.execute(held.values(state="running", attempts=JobRow.attempts + 1, claimed_until=until))
        return [
            Job(row["id"], row["kind"], row["case_id"], row["subject"], json.loads(row["body"]), row["attempts"] + 1,
                row["by"])
            for row in rows
        ]  # fmt: skip


def free_claims(database: Database) -> None:
    """Give back what was claimed: at its start a server is the only one on its folder."""
    with database.write() as connection:
        connection.execute(update(JobRow).where(JobRow.state == "running").values(state="waiting"))


def job_json(database: Database, job_id: str) -> dict[str, Any] | None:
    """What is known of a piece of work."""
    with database.read() as connection:
        row = connection.execute(select(JobRow).where(JobRow.id == job_id)).mappings().first()
    if row is None:
        return None
    told = {key: row[key] for key in ("id", "kind", "subject", "state", "attempts", "error", "created")}
    return told | {"result": None if row["result"] is None else json.loads(row["result"])}
