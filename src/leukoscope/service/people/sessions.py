"""Log-ins that can be taken back: a random token in a cookie, its SHA-256 in the database."""

from __future__ import annotations

import hashlib
import secrets
import threading
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from starlette.requests import Request

from leukoscope.service.database.chain import Chain
from leukoscope.service.database.engine import Database
from leukoscope.service.database.tables import SessionRow, UserRow
from leukoscope.service.moments import utc_after, utc_now
from leukoscope.service.people.accounts import Person
from leukoscope.service.people.roles import rights

IDLE_SECONDS = 1800
LONGEST_SECONDS = 12 * 3600
COOKIE = "leukoscope"
SECURE_COOKIE = "__Host-leukoscope"
_OF_TOKEN = (
    select(SessionRow.seen, SessionRow.expires, UserRow.id, UserRow.login, UserRow.name, UserRow.roles)
    .join(UserRow, UserRow.id == SessionRow.user_id)
    .where(SessionRow.token_sha256 == bindparam("key"), UserRow.closed_at.is_(None))
)


def token_of(request: Request) -> str | None:
    """The token of the session, from the cookie that belongs to this kind of connection."""
    return request.cookies.get(SECURE_COOKIE if request.url.scheme == "https" else COOKIE)


class Sessions:
    """Who is logged in.

    When a session was last seen is kept in memory and written now and then: looking at a page writes nothing.
    """

    def __init__(self, database: Database, chain: Chain) -> None:
        self._database = database
        self._chain = chain
        self._seen: dict[str, str] = {}
        self._lock = threading.Lock()

    def start(self, person: Person, address: str, agent: str) -> str:
        """Log a person in; the token goes into the cookie and is kept nowhere here."""
        token, now = secrets.token_urlsafe(32), utc_now()
        with self._database.write() as connection:
            connection.execute(delete(SessionRow).where(SessionRow.expires < now))
            connection.execute(
                insert(SessionRow).values(
                    token_sha256=_sha256(token), user_id=person.id, created=now, seen=now,
                    expires=utc_after(LONGEST_SECONDS), address=address[:64], agent=agent[:200],
                )
            )  # fmt: skip
            self._chain.append(connection, person.id, "session.started", person.id, {})
        return token

    def person(self, token: str) -> Person | None:
        """Whose session it is; None where it ended."""
        key, now = _sha256(token), utc_now()
        with self._database.read() as connection:
            row = connection.execute(_OF_TOKEN, {"key": key}).first()
        if row is None or row.expires < now or max(row.seen, self._seen.get(key, "")) < utc_after(-IDLE_SECONDS):
            return None
        with self._lock:
            self._seen[key] = now
        held = tuple(row.roles.split(","))
        return Person(row.id, row.login, row.name, held, rights(held))

    def end(self, token: str) -> None:
        """Log out."""
        with self._database.write() as connection:
            connection.execute(delete(SessionRow).where(SessionRow.token_sha256 == _sha256(token)))

    def revoke(self, by: str, user: str) -> int:
        """End all sessions of a person; how many there were."""
        with self._database.write() as connection:
            count = connection.execute(delete(SessionRow).where(SessionRow.user_id == user)).rowcount
            self._chain.append(connection, by, "session.revoked", user, {"sessions": count})
        return int(count)

    def listed(self) -> list[dict[str, Any]]:
        """All sessions, without what could be used to log in."""
        wanted = select(
            SessionRow.user_id, SessionRow.created, SessionRow.seen, SessionRow.expires, SessionRow.address,
            SessionRow.agent,
        ).order_by(SessionRow.created)  # fmt: skip
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def write_seen(self) -> None:
        """Write down when sessions were last seen."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if not seen:
            return
        with self._database.write() as connection:
            for key, at in seen.items():
                connection.execute(update(SessionRow).where(SessionRow.token_sha256 == key).values(seen=at))


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
