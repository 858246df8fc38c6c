"""Pictures come in as the raw bytes of a request: counted, hashed, decoded apart, kept, and only then acknowledged."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from starlette.concurrency import run_in_threadpool

from leukoscope.errors import PictureError
from leukoscope.service import answers
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.store import disk_problem
from leukoscope.service.children import ChildEndedError
from leukoscope.service.database.tables import CasePictureRow, JobRow, PictureRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

TAKEN = frozenset({"image/bmp", "image/png", "image/jpeg", "image/tiff", "image/webp", "application/octet-stream"})


async def take_picture(
    bench: Workbench, person: Person, case_id: str, sha256: str, name: str, length: int,
    body: Callable[[], AsyncIterator[bytes]], source: str = "upload",
) -> tuple[bool, dict[str, Any]]:  # fmt: skip
    """Take a picture for a case; when this returns, it is on the disk and in the database.

    Args:
        bench: where it goes.
        person: who gives it.
        case_id: of which case it is.
        sha256: of its bytes, as the sender says.
        name: of its file.
        length: bytes that are announced.
        body: gives the bytes.
        source: `upload` or `watch`.

    Returns:
        Whether the case did not have it before, and what is known of it.

    Raises:
        Problem: it is too large, of other bytes than said, no picture, or the case is signed or full.
    """
    final = bench.store.path(sha256)
    known = await run_in_threadpool(_check, bench, case_id, sha256, length)
    if known is not None:
        return False, known
    temporary = await run_in_threadpool(bench.store.temporary)
    try:
        await _receive(bench, temporary, sha256, length, body)
        looked = await run_in_threadpool(_look, bench, temporary)
        await run_in_threadpool(bench.store.keep, temporary, sha256)
        return await run_in_threadpool(_record, bench, person, case_id, sha256, name, final, looked, source)
    finally:
        await run_in_threadpool(temporary.unlink, missing_ok=True)


def _check(bench: Workbench, case_id: str, sha256: str, length: int) -> dict[str, Any] | None:
    """What is known of a picture that the case has; None: it may come."""
    limits = bench.settings.limits
    with bench.database.read() as connection:
        row = case_row(connection, case_id)
        here = select(CasePictureRow.number, PictureRow.width, PictureRow.height, PictureRow.media).join(
            PictureRow, PictureRow.sha256 == CasePictureRow.picture
        )
        mine = here.where(CasePictureRow.case_id == case_id, CasePictureRow.picture == sha256)
        found = connection.execute(mine).mappings().first()
        if found is not None:
            return {"sha256": sha256, **found}
        count, size = connection.execute(
            select(func.count(), func.coalesce(func.sum(PictureRow.bytes), 0))
            .join(CasePictureRow, CasePictureRow.picture == PictureRow.sha256)
            .where(CasePictureRow.case_id == case_id)
        ).one()
    if row["state"] == "signed":
        raise Problem(409, "the case is signed", remedy="amend it with a reason first")
    if length > limits.picture_bytes:
        raise Problem(413, f"has {length:,} bytes, more than the {limits.picture_bytes:,} allowed", remedy="crop it")
    if not length:
        raise Problem(422, "the file is empty", remedy="copy or export the picture again")
    if count >= limits.case_pictures or size + length > limits.case_bytes:
        raise Problem(409, f"the case is full with {count:,} pictures", remedy="make another case")
    bench.store.check_space(length)
    return None


async def _receive(
    bench: Workbench, temporary: Path, sha256: str, length: int, body: Callable[[], AsyncIterator[bytes]]
) -> None:
    digest = hashlib.sha256()
    size = 0
    try:
        with temporary.open("wb") as file:
            async for part in body():
                size += len(part)
                if size > min(length, bench.settings.limits.picture_bytes):
                    raise Problem(413, "more bytes came than were announced")
                digest.update(part)
                file.write(part)
    except OSError as error:
        raise disk_problem(error) from error
    if size < length:
        raise Problem(400, f"only {size:,} of {length:,} bytes came", remedy="send the picture again")
    if digest.hexdigest() != sha256:
        raise Problem(409, "the bytes have another SHA-256 than was said", remedy="send the picture again")


def _look(bench: Workbench, temporary: Path) -> answers.Looked:
    try:
        return bench.decoder.call(answers.look, str(temporary), bench.settings.limits.picture_pixels)
    except ChildEndedError as error:
        raise Problem(422, f"cannot be decoded: {error.what}", remedy="export the picture again") from error
    except PictureError as error:
        raise Problem(422, error.what, remedy=error.remedy) from error


def _record(
    bench: Workbench, person: Person, case_id: str, sha256: str, name: str, final: Path, looked: answers.Looked,
    source: str,
) -> tuple[bool, dict[str, Any]]:  # fmt: skip
    now = utc_now()
    found = {"sha256": sha256, "width": looked.width, "height": looked.height, "media": looked.media}
    with bench.database.write() as connection:
        mine = select(CasePictureRow.number).where(CasePictureRow.case_id == case_id, CasePictureRow.picture == sha256)
        number = connection.scalar(mine)
        if number is not None:  # it came twice at the same time
            return False, found | {"number": number}
        known = connection.scalar(select(PictureRow.erased_at).where(PictureRow.sha256 == sha256))
        if connection.scalar(select(func.count()).where(PictureRow.sha256 == sha256)) == 0:
            connection.execute(insert(PictureRow).values(**found, bytes=final.stat().st_size, created=now))
        elif known is not None:
            raise Problem(409, "the picture is of a subject who was erased")
        last = select(func.coalesce(func.max(CasePictureRow.number), 0)).where(CasePictureRow.case_id == case_id)
        number = 1 + (connection.scalar(last) or 0)
        connection.execute(
            insert(CasePictureRow).values(
                case_id=case_id, picture=sha256, name=name[:300], number=number, source=source, added_by=person.id,
                added=now,
            )
        )  # fmt: skip
        connection.execute(
            insert(JobRow).values(
                id=new_id(), kind="ask", case_id=case_id, subject=sha256, body="{}", state="waiting", attempts=0,
                created=now, by=person.id,
            )
        )  # fmt: skip
        bench.chain.append(connection, person.id, "picture.added", case_id, {"picture": sha256, "number": number})
    return True, found | {"number": number}
