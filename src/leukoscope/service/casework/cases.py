"""Cases: made, listed, changed before they are signed, and their subjects erased."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from leukoscope.service.casework.jobs import ANSWERING
from leukoscope.service.database.tables import (
    CasePictureRow,
    CaseRow,
    CellRow,
    CompletionRow,
    JobRow,
    PictureRow,
    ReadingRow,
    RequestRow,
    RunRow,
    SignatureRow,
    SlideRow,
)
from leukoscope.service.database.triggers import ERASED
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

PAGE = 200


def make_case(
    bench: Workbench, person: Person, *, case_id: str | None = None, order_no: str, subject: str, readers: int = 1,
    blind: bool = False, target: int = 100, um_per_px: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make a case, once: the same identifier again gives the case that is there."""
    made = case_id or new_id()
    with bench.database.write() as connection:
        found = connection.execute(select(CaseRow).where(CaseRow.id == made)).mappings().first()
        if found is None:
            connection.execute(
                insert(CaseRow).values(
                    id=made, order_no=order_no, subject=subject, readers=readers, blind=int(blind), target=target,
                    state="open", version=1, fixed_set=0, um_per_px=um_per_px, created_by=person.id, created=utc_now(),
                )
            )  # fmt: skip
            body = {"readers": readers, "blind": blind, "target": target, "um_per_px": um_per_px}
            bench.chain.append(connection, person.id, "case.made", made, body)
    return get_case(bench, made)


def list_cases(
    bench: Workbench, *, state: str | None = None, wanted: str = "", after: str | None = None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Cases, the newest first.

    Args:
        bench: where they are.
        state: only those of this state.
        wanted: part of an order number or a pseudonym.
        after: identifier of the last case of the page before.
        limit: how many at most.
    """
    query = select(CaseRow).order_by(CaseRow.id.desc()).limit(min(limit, PAGE))
    if state is not None:
        query = query.where(CaseRow.state == state)
    if wanted:
        query = query.where(
            CaseRow.order_no.icontains(wanted, autoescape=True) | CaseRow.subject.icontains(wanted, autoescape=True)
        )
    if after is not None:
        query = query.where(CaseRow.id < after)
    with bench.database.read() as connection:
        rows = list(connection.execute(query).mappings())
        ids = [row["id"] for row in rows]
        return [case_json(row) | counts for row, counts in zip(rows, _counts(connection, ids), strict=True)]


def get_case(bench: Workbench, case_id: str) -> dict[str, Any]:
    """One case with its counts.

    Raises:
        Problem: there is none.
    """
    with bench.database.read() as connection:
        row = case_row(connection, case_id)
        found = case_json(row) | _counts(connection, [case_id])[0]
        done = select(CompletionRow.reader).where(
            CompletionRow.case_id == case_id, CompletionRow.version == row["version"]
        )
        found["read_by"] = list(connection.scalars(done))
        signed = select(
            SignatureRow.version, SignatureRow.printed_name, SignatureRow.meaning, SignatureRow.at,
            SignatureRow.content_sha256,
        ).where(SignatureRow.case_id == case_id).order_by(SignatureRow.version)  # fmt: skip
        found["signatures"] = [dict(each) for each in connection.execute(signed).mappings()]
        return found


def change_case(bench: Workbench, person: Person, case_id: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Change what a case was made with; the protocol only while nothing was read."""
    with bench.database.write() as connection:
        row = case_row(connection, case_id)
        if row["state"] == "signed" and set(changes) != {"fixed_set"}:
            raise Problem(409, "the case is signed", remedy="amend it with a reason first")
        if "fixed_set" in changes and row["state"] != "signed":
            raise Problem(409, "only signed cases belong to the fixed set", remedy="sign it first")
        if {"readers", "blind"} & set(changes):
            read = connection.scalar(select(func.count()).where(ReadingRow.case_id == case_id))
            if read:
                raise Problem(409, "the case was read already under its protocol", remedy="make a new case")
        if not changes:
            raise Problem(422, "nothing is to be changed", remedy="name what is")
        values = {name: int(value) if isinstance(value, bool) else value for name, value in changes.items()}
        connection.execute(update(CaseRow).where(CaseRow.id == case_id).values(**values))
        told = {name: value for name, value in changes.items() if name not in ("order_no", "subject")}
        told |= dict.fromkeys({"order_no", "subject"} & set(changes), "changed")
        bench.chain.append(connection, person.id, "case.changed", case_id, told)
    return get_case(bench, case_id)


def erase_subject(bench: Workbench, person: Person, subject: str) -> dict[str, Any]:
    """Erase a subject: pictures, what was drawn of them, embeddings, pseudonym, order numbers and names of files.

    A slide is forgotten and no more shown; its file lies outside of the workbench and stays. What was read, signed and
    done stays, under identifiers that name nobody; the chain still verifies.
    """
    if subject == ERASED:
        raise Problem(404, "there is no such subject")
    gone = utc_now()
    with bench.database.write() as connection:
        cases = list(connection.scalars(select(CaseRow.id).where(CaseRow.subject == subject)))
        if not cases:
            raise Problem(404, "there is no such subject")
        of_theirs = select(CasePictureRow.picture).where(CasePictureRow.case_id.in_(cases))
        elsewhere = select(CasePictureRow.picture).where(CasePictureRow.case_id.not_in(cases))
        pictures = list(connection.scalars(of_theirs.where(CasePictureRow.picture.not_in(elsewhere)).distinct()))
        runs = list(connection.scalars(select(RunRow.id).where(RunRow.case_id.in_(cases))))
        connection.execute(update(PictureRow).where(PictureRow.sha256.in_(pictures)).values(erased_at=gone))
        connection.execute(update(CasePictureRow).where(CasePictureRow.case_id.in_(cases)).values(name=ERASED))
        connection.execute(update(CellRow).where(CellRow.case_id.in_(cases)).values(embedding=None))
        connection.execute(update(CaseRow).where(CaseRow.id.in_(cases)).values(subject=ERASED, order_no=ERASED))
        connection.execute(delete(SlideRow).where(SlideRow.run_id.in_(runs)))
        connection.execute(delete(RequestRow))  # answers that may name the subject
        for case_id in cases:
            bench.chain.append(connection, person.id, "subject.erased", case_id, {"pictures": len(pictures)})
    for sha256 in pictures:
        bench.store.remove(sha256)
    for run in runs:
        for path in (bench.settings.derived / run[-2:]).glob(f"{run}-*"):
            path.unlink(missing_ok=True)
    return {"cases": len(cases), "pictures": len(pictures)}


def case_row(connection: Connection, case_id: str) -> RowMapping:
    """The row of a case.

    Raises:
        Problem: there is none.
    """
    row = connection.execute(select(CaseRow).where(CaseRow.id == case_id)).mappings().first()
    if row is None:
        raise Problem(404, "there is no such case")
    return row


def case_json(row: RowMapping) -> dict[str, Any]:
    """A case as JSON-ready values."""
    return dict(row) | {"blind": bool(row["blind"]), "fixed_set": bool(row["fixed_set"])}


def _counts(connection: Connection, cases: list[str]) -> list[dict[str, Any]]:
    def by_case(table: Any, *where: Any) -> dict[str, int]:
        query = select(table.case_id, func.count()).where(table.case_id.in_(cases), *where).group_by(table.case_id)
        return dict(connection.execute(query).all())

    pictures, cells = by_case(CasePictureRow), by_case(CellRow)
    waiting = by_case(JobRow, JobRow.kind.in_(ANSWERING), JobRow.state.in_(("waiting", "running")))
    failed = by_case(JobRow, JobRow.kind.in_(ANSWERING), JobRow.state == "failed")
    return [
        {
            "pictures": pictures.get(each, 0), "cells": cells.get(each, 0), "waiting": waiting.get(each, 0),
            "failed": failed.get(each, 0),
        }
        for each in cases
    ]  # fmt: skip
