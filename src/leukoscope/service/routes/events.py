"""The chain, for auditors."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select

from leukoscope.service.casework.blind import is_blind_to
from leukoscope.service.casework.signing import anchor_now, note_anchor
from leukoscope.service.database.audit import verify_database
from leukoscope.service.database.chain import chain_links
from leukoscope.service.database.tables import CaseRow
from leukoscope.service.routes.needs import Auditor, Bench, Number

router = APIRouter(prefix="/events", tags=["events"])
_TELLING = ("reading", "adjudicated")


@router.get("")
def events(
    bench: Bench, person: Auditor, after: Number = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:  # fmt: skip
    """Events after a number. Whoever reads a case blind and is an auditor too is not told here what others called."""
    with bench.database.read() as connection:
        links = list(chain_links(connection, after, limit))
        named = {link.subject for link in links if link.action in _TELLING} if "viewer" in person.rights else set()
        cases = connection.execute(select(CaseRow).where(CaseRow.id.in_(named))).mappings().all() if named else []
        blind = {case["id"] for case in cases if is_blind_to(connection, case, person)}
    told = []
    for link in links:
        body = json.loads(link.body)
        if link.action in _TELLING and link.subject in blind and link.actor != person.id:
            body["label"] = None
        told.append(asdict(link) | {"body": body})
    return {"events": told}


@router.get("/head")
def head(bench: Bench, person: Auditor) -> dict[str, Any]:
    """Number and hash of the last event, to be noted elsewhere."""
    seq, found = anchor_now(bench)
    return {"seq": seq, "hash": found}


@router.post("/anchors", status_code=201)
def anchor(bench: Bench, person: Auditor) -> dict[str, Any]:
    """Write the head into `anchors.log`."""
    seq, found = anchor_now(bench)
    note_anchor(bench, seq, found)
    return {"seq": seq, "hash": found}


@router.get("/verify")
def verify(
    bench: Bench, person: Auditor, anchor: Annotated[list[str] | None, Query(max_length=100)] = None
) -> dict[str, Any]:
    """Look through the whole chain, and whether every row is that of its event."""
    found = verify_database(bench.database, bench.chain, anchor or ())
    return {"events": found.events, "head": found.head, "sound": found.sound, "faults": list(found.faults)}
