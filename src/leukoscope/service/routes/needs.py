"""What routes ask for: the workbench, and a person who may do it."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from leukoscope.service.people.accounts import Person
from leukoscope.service.people.sessions import token_of
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench
from leukoscope.service.worker import Worker

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Password = Annotated[str, StringConstraints(max_length=1000)]
Number = Annotated[int, Query(ge=0, le=2**53)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]


class Body(BaseModel):
    """What comes as JSON: nothing but what is named."""

    model_config = ConfigDict(extra="forbid")


async def the_bench(request: Request) -> Workbench:
    """The workbench. Not waited for in a thread, as what is no coroutine would be."""
    return cast("Workbench", request.app.state.bench)


async def the_worker(request: Request) -> Worker:
    """The thread that works off what waits."""
    return cast("Worker", request.app.state.worker)


def somebody(request: Request) -> Person:
    """Whoever is logged in.

    Raises:
        Problem: nobody is.
    """
    token = token_of(request)
    bench = cast("Workbench", request.app.state.bench)
    person = None if token is None else bench.sessions.person(token)
    if person is None:
        raise Problem(401, "nobody is logged in", remedy="log in; what was not saved is kept in this browser")
    return person


def role(*names: str) -> Any:
    """A dependency: the person who asks, who must have one of these roles."""

    def allowed(request: Request) -> Person:
        person = somebody(request)
        if not person.rights & set(names):
            raise Problem(403, f"only for the role {' or '.join(names)}", remedy="ask an administrator for the role")
        return person

    allowed.roles = names  # type: ignore[attr-defined]
    return Depends(allowed)


Bench = Annotated[Workbench, Depends(the_bench)]
Somebody = Annotated[Person, Depends(somebody)]
Viewer = Annotated[Person, role("viewer")]
Reader = Annotated[Person, role("reader")]
Signer = Annotated[Person, role("signer")]
Manager = Annotated[Person, role("manager")]
Preparer = Annotated[Person, role("reader", "manager")]
Admin = Annotated[Person, role("admin")]
Auditor = Annotated[Person, role("auditor")]
TheWorker = Annotated[Worker, Depends(the_worker)]
