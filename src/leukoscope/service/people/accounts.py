"""Accounts: made by an administrator, never deleted, closed when somebody leaves; passwords as Argon2id hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, func, insert, select, update

from leukoscope.service.database.chain import Chain
from leukoscope.service.database.engine import Database
from leukoscope.service.database.tables import BucketRow, SessionRow, SettingRow, UserRow
from leukoscope.service.moments import new_id, utc_after, utc_now
from leukoscope.service.people.roles import known_roles, rights
from leukoscope.service.problems import Problem

MIN_PASSWORD = 10
_TRIES_BY_ACCOUNT = 5  # in a row, then each further one waits twice as long
_TRIES_BY_ADDRESS = 20  # a minute
_LONGEST_WAIT = 900.0  # seconds
_FIRST = "first administrator"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. ``rights`` are the roles with those that they include."""

    id: str
    login: str
    name: str
    roles: tuple[str, ...]
    rights: frozenset[str]


class Accounts:
    """All accounts of a workbench.

    Args:
        database: where they are.
        chain: what administrators do stands in it too.
    """

    def __init__(self, database: Database, chain: Chain) -> None:
        self._database = database
        self._chain = chain
        self._hasher = PasswordHasher()
        self._at_once = threading.Semaphore(2)  # each hash takes 64 MiB

    @cached_property
    def _nobody(self) -> str:
        """What the password of an unknown login is compared with, so that the answer takes as long."""
        return self._hasher.hash(secrets.token_hex(16))

    def warm_up(self) -> None:
        """Do what the first log-in would otherwise wait for."""
        _ = self._nobody

    def first_link(self) -> str | None:
        """A token with which the first administrator is made, once and within a day; None: there is an account."""
        token = secrets.token_urlsafe(24)
        with self._database.write() as connection:
            if connection.scalar(select(func.count()).where(UserRow.closed_at.is_(None))):
                return None
            connection.execute(delete(SettingRow).where(SettingRow.key == _FIRST))
            value = f"{_digest(token)} {utc_after(86400)}"
            connection.execute(insert(SettingRow).values(key=_FIRST, value=value, changed_at=utc_now()))
        return token

    def make_first(self, token: str, login: str, name: str, password: str, roles: Sequence[str]) -> Person:
        """Make the first account, by the token that was printed at the first start.

        Raises:
            Problem: the token is wrong, used or too old.
        """
        hashed = self._hash(password)
        with self._database.write() as connection:
            kept = connection.scalar(select(SettingRow.value).where(SettingRow.key == _FIRST))
            digest, _, until = (kept or " ").partition(" ")
            if not hmac.compare_digest(digest, _digest(token)) or until < utc_now():
                raise Problem(
                    403, "the link is wrong, used or too old", remedy="start the workbench again for a new one"
                )
            connection.execute(delete(SettingRow).where(SettingRow.key == _FIRST))
            return self._insert(connection, None, login, name, hashed, ["admin", *roles])

    def make(self, by: str, login: str, name: str, password: str, roles: Sequence[str]) -> Person:
        """Make an account.

        Raises:
            Problem: the login is taken, a role is unknown, the password is too short.
        """
        hashed = self._hash(password)
        with self._database.write() as connection:
            return self._insert(connection, by, login, name, hashed, roles)

    def make_closed(self, by: str, login: str, name: str, roles: Sequence[str]) -> Person:
        """Make an account with which nobody can log in, for what no person does."""
        with self._database.write() as connection:
            made = self._insert(connection, by, login, name, self._nobody, roles)
            connection.execute(update(UserRow).where(UserRow.id == made.id).values(closed_at=utc_now()))
            return made

    def _insert(
        self, connection: Connection, by: str | None, login: str, name: str, hashed: str, roles: Sequence[str]
    ) -> Person:
        held = _checked(roles)
        if connection.scalar(select(UserRow.id).where(UserRow.login == login)) is not None:
            raise Problem(409, "there is an account of this login", remedy="choose another login")
        made = new_id()
        connection.execute(
            insert(UserRow).values(
                id=made, login=login, name=name, password_hash=hashed, roles=",".join(held), created=utc_now(), failed=0
            )
        )
        self._chain.append(connection, by or made, "account.made", made, {"roles": held})
        return Person(made, login, name, tuple(held), rights(held))

    def change(
        self, by: str, user: str, *, roles: Sequence[str] | None = None, closed: bool | None = None,
        name: str | None = None, password: str | None = None,
    ) -> None:  # fmt: skip
        """Change an account; each of its sessions ends with its password, its roles or itself.

        Raises:
            Problem: there is no such account, or nobody would be left to administrate.
        """
        hashed = None if password is None else self._hash(password)
        with self._database.write() as connection:
            row = connection.execute(select(UserRow.id, UserRow.roles).where(UserRow.id == user)).first()
            if row is None:
                raise Problem(404, "there is no such account")
            values: dict[str, object] = {}
            told: dict[str, object] = {}
            if roles is not None:
                values["roles"] = ",".join(_checked(roles))
                told["roles"] = _checked(roles)
            if closed is not None:
                values["closed_at"] = utc_now() if closed else None
                told["closed"] = closed
            if name is not None:
                values["name"] = name
                told["name"] = "changed"
            if hashed is not None:
                values |= {"password_hash": hashed, "failed": 0, "locked_until": None}
                told["password"] = "changed"  # noqa: S105  (a word, no password)
            if values:
                connection.execute(update(UserRow).where(UserRow.id == user).values(**values))
            if roles is not None or closed or hashed is not None:
                connection.execute(delete(SessionRow).where(SessionRow.user_id == user))
            admins = select(UserRow.roles).where(UserRow.closed_at.is_(None))
            if not any("admin" in held.split(",") for held in connection.scalars(admins)):
                raise Problem(409, "nobody would be left to administrate", remedy="make another administrator first")
            self._chain.append(connection, by, "account.changed", user, told)

    def check_password(self, login: str, password: str, address: str) -> Person:
        """The account of a login and its password. Takes as long for a login that does not exist.

        Raises:
            Problem: they do not match, or there were too many tries.
        """
        self._count_try(address)
        with self._database.read() as connection:
            row = connection.execute(select(UserRow).where(UserRow.login == login)).mappings().first()
        if row is not None and (row["locked_until"] or "") > utc_now():
            raise Problem(
                429, "too many tries for this account", remedy="wait, or ask an administrator for a new password"
            )
        right = self._matches(self._nobody if row is None else row["password_hash"], password)
        if row is None or not right or row["closed_at"] is not None:
            if row is not None:
                self._count_failure(row["id"])
            raise Problem(401, "login and password do not match", remedy="try again, or ask an administrator")
        if row["failed"]:
            with self._database.write() as connection:
                clear = update(UserRow).where(UserRow.id == row["id"]).values(failed=0, locked_until=None)
                connection.execute(clear)
        held = tuple(row["roles"].split(","))
        return Person(row["id"], row["login"], row["name"], held, rights(held))

    def _count_try(self, address: str) -> None:
        now = time.time()
        key = f"log-in {address}"[:100]
        with self._database.write() as connection:
            row = connection.execute(select(BucketRow.tokens, BucketRow.at).where(BucketRow.key == key)).first()
            left = float(_TRIES_BY_ADDRESS)
            if row is not None:
                left = min(left, row.tokens + max(0.0, now - row.at) * _TRIES_BY_ADDRESS / 60)
                connection.execute(delete(BucketRow).where(BucketRow.key == key))
            connection.execute(insert(BucketRow).values(key=key, tokens=max(0.0, left - 1), at=now))
        if left < 1:
            raise Problem(429, "too many tries from this address", remedy="wait a minute")

    def _count_failure(self, user: str) -> None:
        with self._database.write() as connection:
            failed = 1 + (connection.scalar(select(UserRow.failed).where(UserRow.id == user)) or 0)
            over = failed - _TRIES_BY_ACCOUNT
            until = utc_after(min(_LONGEST_WAIT, 15.0 * 2 ** min(over, 10))) if over >= 0 else None
            connection.execute(update(UserRow).where(UserRow.id == user).values(failed=failed, locked_until=until))

    def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= 1000:
            raise Problem(422, f"a password has at least {MIN_PASSWORD} characters", remedy="choose a longer one")
        with self._at_once:
            return self._hasher.hash(password)

    def _matches(self, hashed: str, password: str) -> bool:
        with self._at_once:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False


def _checked(roles: Sequence[str]) -> list[str]:
    try:
        held = known_roles(roles)
    except ValueError as error:
        raise Problem(422, str(error)) from error
    if not held:
        raise Problem(422, "an account has at least one role", remedy="give it one")
    return held


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
