"""Accounts and sessions, for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from leukoscope.service.database.tables import UserRow
from leukoscope.service.routes.needs import Admin, Bench, Body, Identifier, Line, Password

router = APIRouter(tags=["users"])


class NewUser(Body):
    """An account to be made."""

    login: Line
    name: Line
    password: Password
    roles: list[str]


class UserChange(Body):
    """What is to be changed of an account."""

    name: Line | None = None
    roles: list[str] | None = None
    closed: bool | None = None
    password: Password | None = None


@router.get("/users")
def users(bench: Bench, person: Admin) -> dict[str, Any]:
    """All accounts, without passwords."""
    query = select(UserRow.id, UserRow.login, UserRow.name, UserRow.roles, UserRow.created, UserRow.closed_at)
    with bench.database.read() as connection:
        rows = connection.execute(query.order_by(UserRow.id)).mappings()
        return {"users": [dict(row) | {"roles": row["roles"].split(",")} for row in rows]}


@router.post("/users", status_code=201)
def make_user(given: NewUser, bench: Bench, person: Admin) -> dict[str, Any]:
    """Make an account."""
    made = bench.accounts.make(person.id, given.login, given.name, given.password, given.roles)
    return {"id": made.id, "login": made.login, "roles": list(made.roles)}


@router.patch("/users/{user_id}")
def change_user(user_id: Identifier, given: UserChange, bench: Bench, person: Admin) -> dict[str, Any]:
    """Change, close or open an account, or give it a new password; its sessions end."""
    bench.accounts.change(
        person.id, user_id, roles=given.roles, closed=given.closed, name=given.name, password=given.password
    )
    return {"id": user_id}


@router.get("/sessions")
def sessions(bench: Bench, person: Admin) -> dict[str, Any]:
    """Who is logged in, from where."""
    return {"sessions": bench.sessions.listed()}


@router.post("/users/{user_id}/log-out")
def log_out_user(user_id: Identifier, bench: Bench, person: Admin) -> dict[str, Any]:
    """End all sessions of an account: for one that was stolen."""
    return {"sessions": bench.sessions.revoke(person.id, user_id)}
