"""The chain: one event for each act, each sealed together with the one before it.

`hash = HMAC-SHA256(key, [seq, at, actor, action, subject, body, prev])`, the list as JSON. The key lies in a file
beside the database, not in it: whoever owns the database alone cannot write the chain anew. Whoever owns both can,
and then only a head that was noted elsewhere (on a printed report, in `anchors.log` of a backup) tells. A body holds
identifiers, digests and labels, never a name: erasing a subject leaves the chain whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from leukoscope.errors import LeukoscopeError
from leukoscope.service.database.tables import EventRow
from leukoscope.service.moments import utc_now

START = "0" * 64
_LAST = select(EventRow.seq, EventRow.hash).order_by(EventRow.seq.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class Link:
    """An event as it stands in the chain; ``body`` is canonical JSON."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    body: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What looking through a chain found.

    Attributes:
        events: how many were read.
        head: hash of the last, or `START`.
        faults: what is wrong, the first at its number; empty where all is well.
    """

    events: int
    head: str
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


class Chain:
    """Seals events with a key.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, seq: int, at: str, actor: str, action: str, subject: str, body: str, prev: str) -> str:
        """The hash of an event."""
        told = json.dumps([seq, at, actor, action, subject, body, prev], ensure_ascii=True, separators=(",", ":"))
        return hmac.new(self._key, told.encode("ascii"), hashlib.sha256).hexdigest()

    def fingerprint(self, *words: str) -> str:
        """A digest of words that only whoever has the key can make."""
        return hmac.new(self._key, json.dumps(words).encode("ascii"), hashlib.sha256).hexdigest()

    def append(self, connection: Connection, actor: str, action: str, subject: str, body: dict[str, Any]) -> Link:
        """Add an event. The connection must be that of `Database.write`: one writer at a time."""
        return self.append_all(connection, actor, [(action, subject, body)])[0]

    def append_all(
        self, connection: Connection, actor: str, acts: Iterable[tuple[str, str, dict[str, Any]]]
    ) -> list[Link]:
        """Add events of one actor, in their order: action, subject and body of each."""
        seq, prev = chain_head(connection)
        made = []
        for action, subject, body in acts:
            seq, at, told = seq + 1, utc_now(), canonical(body)
            sealed = self.seal(seq, at, actor, action, subject, told, prev)
            made.append(Link(seq, at, actor, action, subject, told, prev, sealed))
            prev = sealed
        if made:
            connection.execute(insert(EventRow), [_values(link) for link in made])
        return made

    def verify(self, links: Iterable[Link], anchors: Iterable[str] = ()) -> ChainVerdict:
        """Look through a whole chain.

        Args:
            links: all events in the order of their numbers.
            anchors: hashes that were noted elsewhere: each must be that of an event.
        """
        faults: list[str] = []
        wanted = {each.lower() for each in anchors}
        count, prev = 0, START
        for link in links:
            count += 1
            if link.seq != count:
                faults.append(f"event {count} is missing: {link.seq} stands in its place")
                count = link.seq
            if link.prev != prev:
                faults.append(f"event {link.seq} does not follow the one before it")
            sealed = self.seal(link.seq, link.at, link.actor, link.action, link.subject, link.body, link.prev)
            if not hmac.compare_digest(sealed, link.hash):
                faults.append(f"event {link.seq} was altered ({link.action})")
            prev = link.hash
            wanted.discard(link.hash)
            if len(faults) >= 20:
                faults.append("further events were not looked at")
                return ChainVerdict(count, prev, tuple(faults))
        faults.extend(f"no event has the hash {each}: the chain was cut or written anew" for each in sorted(wanted))
        return ChainVerdict(count, prev, tuple(faults))


def chain_links(connection: Connection, after: int = 0, limit: int | None = None) -> Iterator[Link]:
    """Events after a number, in their order."""
    wanted = select(
        EventRow.seq, EventRow.at, EventRow.actor, EventRow.action, EventRow.subject, EventRow.body, EventRow.prev,
        EventRow.hash,
    ).where(EventRow.seq > after).order_by(EventRow.seq).limit(limit)  # fmt: skip
    for row in connection.execute(wanted):
        yield Link(*row)


def chain_head(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last event."""
    last = connection.execute(_LAST).first()
    return (0, START) if last is None else (last.seq, last.hash)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value is the same text.

    >>> canonical({"b": 1, "a": "é"})
    '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_key(path: Path, *, create: bool) -> bytes:
    """The key of the chain.

    Args:
        path: its file, readable by its owner alone.
        create: make one where there is none.

    Raises:
        LeukoscopeError: it is missing, or no key.
    """
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise LeukoscopeError(
            f"the key of the chain cannot be read ({error})", path=path, remedy="restore it from a backup"
        ) from error
    if len(key) != 32:
        raise LeukoscopeError("is not the key of a chain", path=path, remedy="restore it from a backup")
    return key


def _values(link: Link) -> dict[str, Any]:
    return {
        "seq": link.seq, "at": link.at, "actor": link.actor, "action": link.action, "subject": link.subject,
        "body": link.body, "prev": link.prev, "hash": link.hash,
    }  # fmt: skip
