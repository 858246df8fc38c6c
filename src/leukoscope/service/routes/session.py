"""Log in, log out, who am I; the first administrator."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from leukoscope.service.people.accounts import Person
from leukoscope.service.people.roles import ROLES
from leukoscope.service.people.sessions import COOKIE, SECURE_COOKIE, token_of
from leukoscope.service.problems import Problem
from leukoscope.service.routes.needs import Bench, Body, Line, Password, Somebody
from leukoscope.service.settings import LOOPBACK

router = APIRouter(tags=["session"])


class LogIn(Body):
    """Login and password."""

    login: Line
    password: Password


class First(LogIn):
    """The first account, by the token that was printed at the first start."""

    token: Line
    name: Line
    roles: tuple[str, ...] = ()


@router.post("/session")
def log_in(given: LogIn, request: Request, response: Response, bench: Bench) -> dict[str, Any]:
    """Log in."""
    person = bench.accounts.check_password(given.login, given.password, _address(request))
    return _start(bench, person, request, response)


@router.post("/first")
def make_first(given: First, request: Request, response: Response, bench: Bench) -> dict[str, Any]:
    """Make the first account and log it in."""
    person = bench.accounts.make_first(given.token, given.login, given.name, given.password, given.roles)
    return _start(bench, person, request, response)


@router.get("/session")
def who(person: Somebody) -> dict[str, Any]:
    """Who is logged in."""
    return _told(person)


@router.delete("/session", status_code=204)
def log_out(request: Request, response: Response, bench: Bench) -> None:
    """Log out; the session is gone, not only the cookie."""
    token = token_of(request)
    if token is not None:
        bench.sessions.end(token)
    for name in (COOKIE, SECURE_COOKIE):
        response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True, samesite="strict")


def _start(bench: Bench, person: Person, request: Request, response: Response) -> dict[str, Any]:
    secure = request.url.scheme == "https"
    if not secure and request.url.hostname not in LOOPBACK | {"testserver"}:
        raise Problem(
            403, "passwords travel over HTTPS only, but on this machine itself",
            remedy="put a proxy with TLS before the workbench, see docs/workbench.md",
        )  # fmt: skip
    old = token_of(request)
    if old is not None:
        bench.sessions.end(old)
    token = bench.sessions.start(person, _address(request), request.headers.get("user-agent", ""))
    name = SECURE_COOKIE if secure else COOKIE
    response.set_cookie(name, token, path="/", secure=secure, httponly=True, samesite="strict")
    return _told(person)


def _told(person: Person) -> dict[str, Any]:
    return {
        "id": person.id, "login": person.login, "name": person.name, "roles": list(person.roles),
        "rights": sorted(person.rights, key=list(ROLES).index),
    }  # fmt: skip


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
