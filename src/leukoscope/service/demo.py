"""A workbench to try out: rendered cells of nobody, two accounts whose password is shown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import func, select

from leukoscope.datasets.drawing import draw_cell
from leukoscope.datasets.rendered_field import render_field
from leukoscope.datasets.synthetic import Kind
from leukoscope.service.casework.cases import make_case
from leukoscope.service.casework.intake import take_picture
from leukoscope.service.database.tables import UserRow
from leukoscope.service.people.accounts import Person
from leukoscope.service.workbench import SYSTEM, Workbench

DEMO_PASSWORD = "leukoscope demo"  # noqa: S105  (it is shown to everybody)
CELLS = 12  # of each kind
FIELDS = 3
_KINDS: tuple[Kind, ...] = ("blast", "normal")
_IN_FIELD: tuple[Kind, ...] = ("blast", "normal", "blast", "normal", "normal")
_PEOPLE = (
    ("anna", "Anna (demo)", ("signer", "manager", "auditor", "admin")),
    ("ben", "Ben (demo)", ("signer",)),
)


def furnish(bench: Workbench, say: Callable[[str], None]) -> None:
    """Make accounts, two cases of rendered cells and one of fields, where the workbench has no accounts yet."""
    with bench.database.read() as connection:
        known = connection.scalar(select(func.count()).select_from(UserRow))
    if not known:
        people = [bench.accounts.make(SYSTEM, login, name, DEMO_PASSWORD, roles) for login, name, roles in _PEOPLE]
        pictures = [_png(draw_cell(seed, kind)) for seed in range(CELLS) for kind in _KINDS]
        _case(bench, people[0], "SYNTHETIC-1", pictures[: 2 * CELLS], readers=1, blind=False)
        _case(bench, people[0], "SYNTHETIC-2", pictures[:8], readers=2, blind=True)
        fields = [_png(render_field(seed, _IN_FIELD)[0]) for seed in range(FIELDS)]
        _case(bench, people[0], "SYNTHETIC-3", fields, readers=1, blind=False)
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


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
