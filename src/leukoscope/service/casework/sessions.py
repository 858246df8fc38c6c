"""Labels that were given elsewhere, in the app in the pocket or in a gallery, taken into a case by its pictures."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, select

from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.review import MOST_READINGS, NewReading, add_readings
from leukoscope.service.database.tables import BundleRow, CellRow, RunRow
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

_EVENTS: Final = uuid.UUID("6f3c2d5e-8f0b-4c51-9a55-0d7d1f2b9c11")  # the same label of the same session is one event
_SAME_BOX, _SAME_ANSWER = 0.5, 1e-6  # overlap of two boxes of one cell; probabilities of one answer
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A cell as it was labelled elsewhere.

    Attributes:
        sha256: of the file of its picture.
        label: what it was called.
        at: when it was answered or labelled there: what makes it an event of its own.
        box: where it lies in a field, x, y, width, height; None: not said.
        number: of the cell in its field as the bundle of this digest counted it, with the probability that it gave.
    """

    sha256: str
    label: str
    at: str
    box: Box | None = None
    number: tuple[int, str, float | None] | None = None


def take_labels(bench: Workbench, person: Person, case_id: str, labels: Sequence[Labelled]) -> dict[str, Any]:
    """Read cells of a case as they were labelled elsewhere.

    A label is taken where the case holds the very picture, by its SHA-256, and it is certain which cell is meant: the
    only one of the picture; the one that lies where the app found it; or that of the same number to which the same
    bundle gave the same answer. Sending labels again changes nothing.

    Args:
        bench: the workbench.
        person: whose readings they become.
        case_id: whose pictures were labelled.
        labels: of cells.

    Returns:
        How many were ``taken``, and the digests of pictures of which some were ``left``.

    Raises:
        Problem: the case is read blind (the model's answer was in sight), signed, or a label is unknown.
    """
    wanted = {each.sha256 for each in labels}
    columns = (
        CellRow.id, CellRow.picture, CellRow.run_id, CellRow.number, CellRow.probability, CellRow.x, CellRow.y,
        CellRow.w, CellRow.h, BundleRow.digest,
    )  # fmt: skip
    query = (
        select(*columns)
        .join(RunRow, RunRow.id == CellRow.run_id)
        .join(BundleRow, BundleRow.id == RunRow.bundle_id)
        .where(CellRow.case_id == case_id, CellRow.picture.in_(wanted))
    )
    with bench.database.read() as connection:
        if case_row(connection, case_id)["blind"]:
            raise Problem(409, "its answers were in sight, and this case is read blind: the labels are not taken")
        rows = list(connection.execute(query).mappings())
    newest: dict[str, str] = {}
    for row in rows:
        newest[row["picture"]] = max(newest.get(row["picture"], ""), row["run_id"])
    cells: dict[str, list[RowMapping]] = {}
    for row in rows:
        if row["run_id"] == newest[row["picture"]]:
            cells.setdefault(row["picture"], []).append(row)
    given, left = [], set()
    for each in labels:
        cell = _meant(each, cells.get(each.sha256, []))
        if cell is None:
            left.add(each.sha256)
            continue
        event = uuid.uuid5(_EVENTS, f"{case_id} {person.id} {cell['id']} {each.label} {each.at}")
        given.append(NewReading(str(event), cell["id"], each.label))
    for first in range(0, len(given), MOST_READINGS):
        add_readings(bench, person, case_id, given[first : first + MOST_READINGS])
    return {"taken": len(given), "left": sorted(left)}


def _meant(label: Labelled, cells: Sequence[RowMapping]) -> RowMapping | None:
    """The cell of a picture that a label is of; None where that is not certain."""
    if label.box is not None:
        box = label.box
        alike = [cell for cell in cells if cell["x"] is not None and _overlap(box, _box(cell)) >= _SAME_BOX]
    elif label.number is not None:
        number, digest, p = label.number
        alike = [
            cell for cell in cells if (cell["number"], cell["digest"]) == (number, digest)
            and (p is None) == (cell["probability"] is None)
            and (p is None or abs(p - cell["probability"]) <= _SAME_ANSWER)
        ]  # fmt: skip
    else:
        alike = [cell for cell in cells if cell["x"] is None or len(cells) == 1]
    return alike[0] if len(alike) == 1 else None


def _box(cell: RowMapping) -> Box:
    return cell["x"], cell["y"], cell["w"], cell["h"]


def _overlap(one: Box, other: Box) -> float:
    """Area that two boxes share over the area that they cover together.

    >>> _overlap((0, 0, 10, 10), (5, 0, 10, 10))
    0.3333333333333333
    """
    across, down = (max(0, min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    shared = across * down
    whole = one[2] * one[3] + other[2] * other[3] - shared
    return shared / whole if whole else 0.0
