"""Pictures come in as the raw bytes of a request: counted, hashed, decoded apart, kept, and only then acknowledged."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, func, insert, select
from starlette.concurrency import run_in_threadpool

from leukoscope.child import ChildEndedError
from leukoscope.errors import PictureError
from leukoscope.service import answers
from leukoscope.service.casework.store import disk_problem
from leukoscope.service.database.tables import CasePictureRow, CaseRow, JobRow, PictureRow
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
    known, temporary = await run_in_threadpool(_begin, bench, case_id, sha256, length)
    if temporary is None:
        return False, known
    try:
        await _receive(bench, temporary, sha256, length, body)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return await run_in_threadpool(_end, bench, person, case_id, sha256, name, temporary, source)


def _begin(bench: Workbench, case_id: str, sha256: str, length: int) -> tuple[dict[str, Any], Path | None]:
    """A new file for a picture that may come; None and what is known of it where the case has it."""
    bench.store.path(sha256)
    known = _check(bench, case_id, sha256, length)
    return ({}, bench.store.temporary()) if known is None else (known, None)


def _end(
    bench: Workbench, person: Person, case_id: str, sha256: str, name: str, temporary: Path, source: str
) -> tuple[bool, dict[str, Any]]:
    """Look at what came, and keep it."""
    try:
        size = temporary.stat().st_size
        looked = _look(bench, temporary)
        bench.store.keep(temporary, sha256)
        return _record(bench, person, case_id, sha256, name, size, looked, source)
    finally:
        temporary.unlink(missing_ok=True)


_LAST = (
    select(func.coalesce(func.max(CasePictureRow.number), 0))
    .where(CasePictureRow.case_id == bindparam("case"))
    .correlate(None)
    .scalar_subquery()
)
_CASE = select(CaseRow.state, _LAST.label("pictures")).where(CaseRow.id == bindparam("case"))
_HERE = (
    select(CasePictureRow.number, PictureRow.width, PictureRow.height, PictureRow.media)
    .join(PictureRow, PictureRow.sha256 == CasePictureRow.picture)
    .where(CasePictureRow.case_id == bindparam("case"), CasePictureRow.picture == bindparam("sha256"))
)
_BYTES = (
    select(func.coalesce(func.sum(PictureRow.bytes), 0))
    .join(CasePictureRow, CasePictureRow.picture == PictureRow.sha256)
    .where(CasePictureRow.case_id == bindparam("case"))
)
_NUMBERED = select(_LAST.label("last"), func.count(CasePictureRow.number).label("here")).where(
    CasePictureRow.case_id == bindparam("case"), CasePictureRow.picture == bindparam("sha256")
)
_KNOWN = select(PictureRow.erased_at).where(PictureRow.sha256 == bindparam("sha256"))


def _check(bench: Workbench, case_id: str, sha256: str, length: int) -> dict[str, Any] | None:
    """What is known of a picture that the case has; None: it may come."""
    limits = bench.settings.limits
    with bench.database.read() as connection:
        case = connection.execute(_CASE, {"case": case_id}).first()
        if case is None:
            raise Problem(404, "there is no such case")
        found = connection.execute(_HERE, {"case": case_id, "sha256": sha256}).mappings().first()
        if found is not None:
            return {"sha256": sha256, **found}
        size = bench.taken.get(case_id)
        if size is None:
            size = bench.taken[case_id] = connection.scalar(_BYTES, {"case": case_id}) or 0
    if case.state == "signed":
        raise Problem(409, "the case is signed", remedy="amend it with a reason first")
    if length > limits.picture_bytes:
        raise Problem(413, f"has {length:,} bytes, more than the {limits.picture_bytes:,} allowed", remedy="crop it")
    if not length:
        raise Problem(422, "the file is empty", remedy="copy or export the picture again")
    if case.pictures >= limits.case_pictures or size + length > limits.case_bytes:
        raise Problem(409, f"the case is full with {case.pictures:,} pictures", remedy="make another case")
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
    bench: Workbench, person: Person, case_id: str, sha256: str, name: str, size: int, looked: answers.Looked,
    source: str,
) -> tuple[bool, dict[str, Any]]:  # fmt: skip
    now = utc_now()
    found = {"sha256": sha256, "width": looked.width, "height": looked.height, "media": looked.media}
    with bench.database.write() as connection:
        last, here = connection.execute(_NUMBERED, {"case": case_id, "sha256": sha256}).one()
        if here:  # it came twice at the same time
            return False, dict(connection.execute(_HERE, {"case": case_id, "sha256": sha256}).mappings().one()) | found
        if not bench.store.path(sha256).is_file():  # it was swept away as one that a killed server left
            raise Problem(503, "the picture was not kept", remedy="send it again")
        known = connection.execute(_KNOWN, {"sha256": sha256}).first()
        if known is None:
            connection.execute(insert(PictureRow), {**found, "bytes": size, "created": now})
        elif known.erased_at is not None:
            raise Problem(409, "the picture is of a subject who was erased")
        number = last + 1
        connection.execute(
            insert(CasePictureRow),
            {
                "case_id": case_id, "picture": sha256, "name": name[:300], "number": number, "source": source,
                "added_by": person.id, "added": now,
            },
        )  # fmt: skip
        connection.execute(
            insert(JobRow),
            {
                "id": new_id(), "kind": "ask", "case_id": case_id, "subject": sha256, "body": "{}",
                "state": "waiting", "attempts": 0, "created": now, "by": person.id,
            },
        )  # fmt: skip
        bench.chain.append(connection, person.id, "picture.added", case_id, {"picture": sha256, "number": number})
        bench.taken[case_id] = bench.taken.get(case_id, 0) + size
    return True, found | {"number": number}
