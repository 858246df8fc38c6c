"""Signatures: what is signed is frozen as text, its digest signed; a correction is an amendment with a reason."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from sqlalchemy import insert, select, update

from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.summary import (
    STRONGEST,
    CaseFile,
    after_review,
    agreement,
    before_review,
    checks,
    read_case,
)
from leukoscope.service.database.chain import canonical, chain_head
from leukoscope.service.database.tables import AmendmentRow, BundleRow, CaseRow, SignatureRow, UserRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench
from leukoscope.text import RESEARCH_USE

MEANINGS = ("review", "approval", "responsibility")


def sign(bench: Workbench, person: Person, case_id: str, meaning: str) -> dict[str, Any]:
    """Sign a case; the password was asked for again by the caller.

    Raises:
        Problem: something that must be is not; it lists what.
    """
    if meaning not in MEANINGS:
        raise Problem(422, f"there is no meaning {meaning!r}", remedy=f"use one of {', '.join(MEANINGS)}")
    with bench.database.read() as connection:
        file = read_case(connection, case_id)
    frozen = freeze(bench, file)  # drawn up outside: no writer waits for it
    with bench.database.write() as connection:
        case = case_row(connection, case_id)
        if case["state"] == "signed":
            raise Problem(409, "the case is signed already")
        now = read_case(connection, case_id)
        if [mark.seq for mark in now.marks] != [mark.seq for mark in file.marks] or len(now.runs) != len(file.runs):
            raise Problem(409, "the case changed while it was being signed", remedy="look at it again")
        unmet = [each for each in checks(now) if each["must"] and not each["met"]]
        if unmet:
            told = "; ".join(f"{each['what']}: {each['open']}" for each in unmet)
            raise Problem(409, f"the case cannot be signed yet: {told}", remedy="finish it first", checks=unmet)
        content = canonical(frozen)
        digest = hashlib.sha256(content.encode()).hexdigest()
        made = new_id()
        body = {"signature": made, "version": case["version"], "content": digest, "meaning": meaning}
        link = bench.chain.append(connection, person.id, "signed", case_id, body)
        connection.execute(
            insert(SignatureRow).values(
                id=made, seq=link.seq, case_id=case_id, version=case["version"], user_id=person.id,
                printed_name=person.name, meaning=meaning, content=content, content_sha256=digest, head=link.hash,
                at=link.at,
            )
        )  # fmt: skip
        connection.execute(update(CaseRow).where(CaseRow.id == case_id).values(state="signed"))
    note_anchor(bench, link.seq, link.hash)
    return {"version": case["version"], "content_sha256": digest, "seq": link.seq, "head": link.hash, "at": link.at}


def amend(bench: Workbench, person: Person, case_id: str, reason: str) -> dict[str, Any]:
    """Open a signed case again as its next version; what was signed stays as it is.

    Raises:
        Problem: it is not signed.
    """
    with bench.database.write() as connection:
        case = case_row(connection, case_id)
        if case["state"] != "signed":
            raise Problem(409, "only a signed case is amended")
        link = bench.chain.append(connection, person.id, "amended", case_id, {"from_version": case["version"]})
        connection.execute(
            insert(AmendmentRow).values(
                case_id=case_id, from_version=case["version"], seq=link.seq, reason=reason, by=person.id, at=link.at
            )
        )
        opened = update(CaseRow).where(CaseRow.id == case_id)
        connection.execute(opened.values(state="open", version=case["version"] + 1))
    return {"version": case["version"] + 1, "state": "open"}


def freeze(bench: Workbench, file: CaseFile) -> dict[str, Any]:
    """All that a report says of a case but the names that can be erased, JSON-ready."""
    case = file.case
    with bench.database.read() as connection:
        bundles = [
            dict(row)
            for row in connection.execute(
                select(BundleRow.digest, BundleRow.name, BundleRow.version)
                .where(BundleRow.id.in_({run["bundle_id"] for run in file.runs}))
                .order_by(BundleRow.id)
            ).mappings()
        ]
        names = dict(connection.execute(select(UserRow.id, UserRow.name)).all())
        wanted = select(AmendmentRow).where(AmendmentRow.case_id == case["id"]).order_by(AmendmentRow.from_version)
        amendments = [
            {"from_version": row["from_version"], "reason": row["reason"], "by": names[row["by"]], "at": row["at"]}
            for row in connection.execute(wanted).mappings()
        ]
    strongest = sorted(
        (cell for cell in file.cells if cell["logit"] is not None and cell["gate"] != "turned down"),
        key=lambda cell: (-float(cell["logit"]), int(cell["place"])),
    )[:STRONGEST]
    called = {label for each in file.found.values() for label in (each.label, *each.labels)}
    return {
        "notice": RESEARCH_USE,
        "case": {name: case[name] for name in ("id", "version", "readers", "blind", "target", "created")},
        "pictures": len(file.runs),
        "software": sorted({run["software"] for run in file.runs}),
        "bundles": bundles,
        "before": before_review(bench, file),
        "after": after_review(file),
        "agreement": agreement(file),
        "readers": [names[reader] for reader in file.done],
        "checks": checks(file),
        "strongest": [
            {
                "cell": cell["id"], "run": cell["run_id"], "number": cell["number"], "place": cell["place"],
                "probability": cell["probability"], "logit": cell["logit"], "decision": cell["decision"],
                "label": file.found[cell["id"]].label,
            }
            for cell in strongest
        ],
        "amendments": amendments,
        "labels": {name: each.words for name, each in file.lanes.items() if name in called},
    }  # fmt: skip


def signed_content(bench: Workbench, case_id: str, version: int | None = None) -> dict[str, Any] | None:
    """The last signature of a case, or that of a version, with what was signed; None where there is none."""
    query = select(SignatureRow).where(SignatureRow.case_id == case_id).order_by(SignatureRow.version.desc()).limit(1)
    if version is not None:
        query = query.where(SignatureRow.version == version)
    with bench.database.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    told = ("version", "printed_name", "meaning", "at", "content_sha256", "head", "seq")
    return {name: row[name] for name in told} | {"content": json.loads(row["content"])}


def note_anchor(bench: Workbench, seq: int, head: str) -> None:
    """Write a head of the chain beside the database, a line that a backup elsewhere keeps."""
    with bench.settings.anchors.open("a", encoding="ascii") as file:
        file.write(f"{utc_now()} {seq} {head}\n")
        file.flush()
        os.fsync(file.fileno())


def anchor_now(bench: Workbench) -> tuple[int, str]:
    """Number and hash of the last event."""
    with bench.database.read() as connection:
        return chain_head(connection)
