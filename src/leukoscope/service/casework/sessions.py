"""Labels from a session of the app in the pocket, taken into a case by the digests of the pictures."""

from __future__ import annotations

import uuid
from typing import Any, Final

from sqlalchemy import select

from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.review import MOST_READINGS, NewReading, add_readings
from leukoscope.service.database.tables import CellRow
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

APP_SESSION: Final = "leukoscope-app-session"
_EVENTS: Final = uuid.UUID("6f3c2d5e-8f0b-4c51-9a55-0d7d1f2b9c11")  # the same label of the same session is one event


def take_session(bench: Workbench, person: Person, case_id: str, labels: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Read cells of a case as they were labelled in the app.

    A label is taken where the case holds the very picture, by its SHA-256, and it shows one cell. Sending a session
    again changes nothing.

    Args:
        bench: the workbench.
        person: whose readings they become.
        case_id: whose pictures were given to the app.
        labels: SHA-256 of the picture, label, and when the app answered.

    Returns:
        How many were ``taken``, and the digests that were ``left``.

    Raises:
        Problem: the case is read blind (the app had shown its answer), signed, or a label is unknown.
    """
    with bench.database.read() as connection:
        if case_row(connection, case_id)["blind"]:
            raise Problem(409, "the app shows its answers, and this case is read blind: its labels are not taken")
        wanted = {digest for digest, _, _ in labels}
        rows = connection.execute(
            select(CellRow.id, CellRow.picture, CellRow.run_id).where(
                CellRow.case_id == case_id, CellRow.picture.in_(wanted)
            )
        ).all()
    newest: dict[str, str] = {}
    for _, picture, run in rows:
        newest[picture] = max(newest.get(picture, ""), run)
    cells: dict[str, list[str]] = {}
    for cell, picture, run in rows:
        if run == newest[picture]:
            cells.setdefault(picture, []).append(cell)
    known = [each for each in labels if len(cells.get(each[0], ())) == 1]
    given = []
    for digest, label, at in known:
        (cell,) = cells[digest]
        given.append(NewReading(str(uuid.uuid5(_EVENTS, f"{case_id} {person.id} {cell} {label} {at}")), cell, label))
    for first in range(0, len(given), MOST_READINGS):
        add_readings(bench, person, case_id, given[first : first + MOST_READINGS])
    taken = {digest for digest, _, _ in known}
    return {"taken": len(given), "left": sorted(wanted - taken)}
