"""A workbench to try out: rendered cells of nobody, two accounts whose password is shown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from io import BytesIO

from PIL import Image
from sqlalchemy import func, select

from leukoscope.datasets.synthetic import render_cell
from leukoscope.service.casework.cases import make_case
from leukoscope.service.casework.intake import take_picture
from leukoscope.service.database.tables import UserRow
from leukoscope.service.people.accounts import Person
from leukoscope.service.workbench import SYSTEM, Workbench

DEMO_PASSWORD = "leukoscope demo"  # noqa: S105  (it is shown to everybody)
CELLS = 12  # of each kind
_PEOPLE = (
    ("anna", "Anna (demo)", ("signer", "manager", "auditor", "admin")),
    ("ben", "Ben (demo)", ("signer",)),
)


def furnish(bench: Workbench, say: Callable[[str], None]) -> None:
    """Make accounts and two cases of rendered cells in a new workbench; one that has accounts stays as it is."""
    with bench.database.read() as connection:
        known = connection.scalar(select(func.count()).select_from(UserRow))
    if not known:
        people = [bench.accounts.make(SYSTEM, login, name, DEMO_PASSWORD, roles) for login, name, roles in _PEOPLE]
        pictures = [_rendered(seed, kind) for seed in range(CELLS) for kind in ("blast", "normal")]
        _case(bench, people[0], "SYNTHETIC-1", pictures[: 2 * CELLS], readers=1, blind=False)
        _case(bench, people[0], "SYNTHETIC-2", pictures[:8], readers=2, blind=True)
    say("SYNTHETIC: the cells of this workbench are rendered by a program, they are not from a patient.")
    say(f"log in as {' or '.join(login for login, _, _ in _PEOPLE)}, password: {DEMO_PASSWORD}")


def _case(bench: Workbench, person: Person, name: str, pictures: list[bytes], *, readers: int, blind: bool) -> None:
    made = make_case(
        bench, person, order_no=name, subject=f"{name}-nobody", readers=readers, blind=blind, target=len(pictures)
    )
    for number, data in enumerate(pictures, 1):

        async def body(data: bytes = data) -> AsyncIterator[bytes]:
            yield data

        digest = hashlib.sha256(data).hexdigest()
        asyncio.run(take_picture(bench, person, made["id"], digest, f"rendered-{number}.png", len(data), body))


def _rendered(seed: int, kind: str) -> bytes:
    file = BytesIO()
    picture = render_cell(seed, "blast" if kind == "blast" else "normal")
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
