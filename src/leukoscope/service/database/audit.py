"""Whether what is recorded is what was done: the chain whole, and every row that of its event. Needs no server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import select

from leukoscope.service.database.chain import Chain, ChainVerdict, canonical, chain_links
from leukoscope.service.database.engine import Database
from leukoscope.service.database.tables import (
    AdjudicationRow,
    AmendmentRow,
    CompletionRow,
    EventRow,
    ReadingRow,
    SettingRow,
    SignatureRow,
    WithdrawalRow,
)
from leukoscope.service.labels import LANES, LANES_CHANGED

_MOST = 20
#: Action, table, and what of a row is in its event: name in the body, or `actor` and `subject`, -> column.
_KEPT: Final[tuple[tuple[str, Any, dict[str, str]], ...]] = (
    (
        "reading", ReadingRow,
        {"event": "id", "cell": "cell_id", "label": "label", "seen": "seen", "version": "version", "actor": "reader",
         "subject": "case_id"},
    ),
    ("reading.withdrawn", WithdrawalRow, {"event": "reading", "actor": "by"}),
    ("case.read", CompletionRow, {"version": "version", "actor": "reader", "subject": "case_id"}),
    ("adjudicated", AdjudicationRow, {"id": "id", "cell": "cell_id", "label": "label", "actor": "by",
                                      "subject": "case_id"}),
    ("signed", SignatureRow, {"signature": "id", "version": "version", "content": "content_sha256",
                              "meaning": "meaning", "actor": "user_id", "subject": "case_id"}),
    ("amended", AmendmentRow, {"from_version": "from_version", "actor": "by", "subject": "case_id"}),
)  # fmt: skip


def verify_database(database: Database, chain: Chain, anchors: Iterable[str] = ()) -> ChainVerdict:
    """Look through the chain, and hold every row that has an event against it.

    Args:
        database: it is only read.
        chain: with the key.
        anchors: hashes that were noted elsewhere.
    """
    with database.read() as connection:
        verdict = chain.verify(chain_links(connection), anchors)
        faults = list(verdict.faults)
        for action, table, told in _KEPT:
            wanted = select(EventRow.seq, EventRow.at, EventRow.actor, EventRow.subject, EventRow.body)
            events = connection.execute(wanted.where(EventRow.action == action))
            known = {event.seq: event for event in events}
            for row in connection.execute(select(table.__table__)).mappings():
                event = known.pop(row["seq"], None)
                where = f"{table.__tablename__} of event {row['seq']}"
                if event is None:
                    faults.append(f"{where}: there is no such event")
                    continue
                said = {**json.loads(event.body), "actor": event.actor, "subject": event.subject}
                wrong = [column for name, column in told.items() if row[column] != said.get(name)]
                if row["at"] != event.at:
                    wrong.append("at")
                if wrong:
                    faults.append(f"{where} was altered: {', '.join(wrong)}")
            faults.extend(f"{table.__tablename__} of event {seq} is missing" for seq in sorted(known))
            if len(faults) > _MOST:
                faults[_MOST:] = ["further rows were not looked at"]
                break
        faults += [*_contents(connection), *_lanes(connection)]
    return ChainVerdict(verdict.events, verdict.head, tuple(faults))


def _contents(connection: Any) -> list[str]:
    """What was signed must have the digest that was signed."""
    rows = connection.execute(select(SignatureRow.seq, SignatureRow.content, SignatureRow.content_sha256))
    return [
        f"what was signed in event {row.seq} was altered"
        for row in rows
        if sha256(row.content.encode()).hexdigest() != row.content_sha256
    ]


def _lanes(connection: Any) -> list[str]:
    """The lanes must be those of the last event that changed them."""
    value = connection.scalar(select(SettingRow.value).where(SettingRow.key == LANES))
    last = select(EventRow.seq, EventRow.body).where(EventRow.action == LANES_CHANGED).order_by(EventRow.seq.desc())
    event = connection.execute(last.limit(1)).first()
    meant = None if event is None else canonical({"seq": event.seq, **json.loads(event.body)})
    return [] if value == meant else ["the lanes were altered: they are not those of their event"]
