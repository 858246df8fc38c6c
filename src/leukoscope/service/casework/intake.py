"""Pictures come in as the raw bytes of a request: counted, hashed, decoded apart, kept, and only then acknowledged."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
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

_LARGE = 4 << 20  # bytes: such a picture is looked at alone
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
        looked = bench.looking.do((str(temporary), size), partial(_look_at, bench))
        bench.store.keep(temporary, sha256)
        arrived = _Arrived(person.id, case_id, sha256, name, size, looked, source)
        return bench.recording.do(arrived, partial(_record, bench))
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
_STATE = select(CaseRow.state).where(CaseRow.id == bindparam("case")).correlate(None).scalar_subquery()
_NUMBERED = select(_STATE.label("state"), _LAST.label("last"), func.count(CasePictureRow.number).label("here")).where(
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


def _look_at(bench: Workbench, pictures: Sequence[tuple[str, int]]) -> Sequence[answers.Looked | Exception]:
    """Look at files, each with its size in bytes. One that ends the process which looks costs the others nothing."""
    pixels = bench.settings.limits.picture_pixels
    if len(pictures) > 1 and max(size for _, size in pictures) > _LARGE:
        return [each for picture in pictures for each in _look_at(bench, [picture])]
    try:
        found = bench.decoder.call(answers.look, [path for path, _ in pictures], pixels)
    except ChildEndedError as error:
        if len(pictures) > 1:
            return [each for picture in pictures for each in _look_at(bench, [picture])]
        return [Problem(422, f"cannot be decoded: {error.what}", remedy="export the picture again")]
    return [Problem(422, each.what, remedy=each.remedy) if isinstance(each, PictureError) else each for each in found]


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A picture that lies in the store."""

    person: str
    case: str
    sha256: str
    name: str
    size: int
    looked: answers.Looked
    source: str

    def facts(self) -> dict[str, Any]:
        """What is known of it."""
        looked = self.looked
        return {"sha256": self.sha256, "width": looked.width, "height": looked.height, "media": looked.media}


def _record(bench: Workbench, arrived: Sequence[_Arrived]) -> Sequence[tuple[bool, dict[str, Any]] | Exception]:
    """Enter pictures, all in one transaction; for each whether its case did not have it, and what is known of it."""
    now = utc_now()
    found: list[tuple[bool, dict[str, Any]] | Exception] = []
    new: dict[tuple[str, str], tuple[_Arrived, int]] = {}
    unknown: dict[str, _Arrived] = {}
    with bench.database.write() as connection:
        for each in arrived:
            wanted = {"case": each.case, "sha256": each.sha256}
            state, last, here = connection.execute(_NUMBERED, wanted).one()
            twice = new.get((each.case, each.sha256))
            if here:  # it came twice at the same time
                found.append((False, dict(connection.execute(_HERE, wanted).mappings().one()) | each.facts()))
                continue
            if twice is not None:
                found.append((False, each.facts() | {"number": twice[1]}))
                continue
            known = connection.execute(_KNOWN, {"sha256": each.sha256}).first()
            try:
                _may_come(bench, each, state, erased=known is not None and known.erased_at is not None)
            except Problem as error:
                found.append(error)
                continue
            number = last + 1 + sum(case == each.case for case, _ in new)
            new[each.case, each.sha256] = each, number
            if known is None:
                unknown[each.sha256] = each
            found.append((True, each.facts() | {"number": number}))
        if unknown:
            connection.execute(
                insert(PictureRow),
                [each.facts() | {"bytes": each.size, "created": now} for each in unknown.values()],
            )
        if new:
            connection.execute(insert(CasePictureRow), [_of_case(each, number, now) for each, number in new.values()])
            connection.execute(insert(JobRow), [_question(each, now) for each, _ in new.values()])
        for person, part in groupby(new.values(), lambda pair: pair[0].person):
            acts = [
                ("picture.added", each.case, {"picture": each.sha256, "number": number}) for each, number in part
            ]  # fmt: skip
            bench.chain.append_all(connection, person, acts)
    for each, _ in new.values():
        bench.taken[each.case] = bench.taken.get(each.case, 0) + each.size
    return found


def _may_come(bench: Workbench, arrived: _Arrived, state: str, *, erased: bool) -> None:
    """Refuse what cannot be entered any more since it was announced."""
    if state == "signed":
        raise Problem(409, "the case is signed", remedy="amend it with a reason first")
    if not bench.store.path(arrived.sha256).is_file():  # it was swept away as one that a killed server left
        raise Problem(503, "the picture was not kept", remedy="send it again")
    if erased:
        raise Problem(409, "the picture is of a subject who was erased")


def _of_case(arrived: _Arrived, number: int, now: str) -> dict[str, Any]:
    return {
        "case_id": arrived.case, "picture": arrived.sha256, "name": arrived.name[:300], "number": number,
        "source": arrived.source, "added_by": arrived.person, "added": now,
    }  # fmt: skip


def _question(arrived: _Arrived, now: str) -> dict[str, Any]:
    return {
        "id": new_id(), "kind": "ask", "case_id": arrived.case, "subject": arrived.sha256, "body": "{}",
        "state": "waiting", "attempts": 0, "created": now, "by": arrived.person,
    }  # fmt: skip
