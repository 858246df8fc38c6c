"""The cells of a case, page by page, in one of five orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, not_, select, tuple_

from leukoscope.service.casework.blind import is_blind_to
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.lanes import known_lanes
from leukoscope.service.casework.stakes import STANDINGS, at_stake, standing_of, standing_so
from leukoscope.service.casework.verdicts import Mark, current_marks
from leukoscope.service.database.tables import CellRow, ReadingRow, WithdrawalRow
from leukoscope.service.labels import Label
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

MOST_ROWS: Final = 2000
SORTS: Final = ("place", "change", "probability", "gate", "disagreement")


def list_cells(
    bench: Workbench, person: Person, case_id: str, *, sort: str = "place", after: str | None = None,
    limit: int = MOST_ROWS, unread: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A page of the cells of a case.

    Args:
        bench: where they are.
        person: who looks.
        case_id: of the case.
        sort: one of `SORTS`. `change` is what a review may change: first unread cells of which one, read otherwise,
            would turn the patient's statement, each with what it would turn to; then all others; both with those
            first that a reader most probably calls otherwise. It goes by what was read when the first page was asked.
        after: `next` of the page before.
        limit: how many at most.
        unread: only those that the person has not read.

    Raises:
        Problem: there is no such case; or the case is read blind, and the order would tell what the model says.
    """
    with bench.database.read() as connection:
        case = case_row(connection, case_id)
        blind = is_blind_to(connection, case, person)
        if sort not in SORTS:
            raise Problem(422, f"there is no order {sort!r}", remedy=f"sort by one of {', '.join(SORTS)}")
        if blind and sort != "place":
            raise Problem(
                403, "the case is read blind: this order would tell what the model says", remedy="sort by place"
            )
        marks = {mark.cell: mark for mark in current_marks(connection, case_id, person.id)}
        query = select(*COLUMNS).where(CellRow.case_id == case_id)
        if unread:
            query = query.where(_unread(case_id, person))
        limit = min(limit, MOST_ROWS)
        if sort == "change":
            return _what_may_change(connection, person, case_id, query, marks, after, limit)
        query = _sorted(query, sort, after)
        if sort == "disagreement":
            rows = _disagreeing(list(connection.execute(query).mappings()), marks, after, known_lanes(connection))[
                : limit + 1
            ]
        else:
            rows = list(connection.execute(query.limit(limit + 1)).mappings())
        page, more = rows[:limit], len(rows) > limit
        return {
            "blind": blind,
            "cells": [cell_json(row, marks.get(row["id"]), blind) for row in page],
            "next": _cursor(page[-1], sort) if more else None,
        }


def _unread(case_id: str, person: Person, until: int | None = None) -> ColumnElement[bool]:
    """Whether a person has not read a cell; up to a number of an event."""
    gone = select(WithdrawalRow.reading).where(WithdrawalRow.reading == ReadingRow.id).exists()
    mine = select(ReadingRow.cell_id).where(ReadingRow.case_id == case_id, ReadingRow.reader == person.id, ~gone)
    return CellRow.id.not_in(mine if until is None else mine.where(ReadingRow.seq <= until))


def _what_may_change(
    connection: Connection, person: Person, case_id: str, query: Any, marks: Mapping[str, Mark], after: str | None,
    limit: int,
) -> dict[str, Any]:  # fmt: skip
    """A page in the order `change`. Its cursor holds what stood when the first page was asked."""
    turned, threshold = at_stake(connection, case_id, marks.values(), known_lanes(connection))
    last = max((mark.seq for mark in marks.values()), default=0)
    names, first, below = "+".join(turned), 1, None
    if after is not None:
        try:
            names, *told = after.split("~")
            last, first, below = _whole(told[0]), _whole(told[1]), (float(told[2]), _whole(told[3]))
        except (ValueError, IndexError) as error:
            raise _no_page() from error
    standing = [name for name in STANDINGS if name in names.split("+")]
    rows: list[tuple[int, RowMapping]] = []
    for tier in (1, 0):
        if tier > first or (tier and not standing) or len(rows) > limit:
            continue
        part = query
        if standing:
            bears = and_(standing_so(standing, threshold), _unread(case_id, person, last))
            part = part.where(bears if tier else not_(bears))
        if below is not None and tier == first:
            part = part.where(tuple_(CellRow.doubt, CellRow.place) < tuple_(*below))
        part = part.order_by(CellRow.doubt.desc(), CellRow.place.desc()).limit(limit + 1 - len(rows))
        rows += [(tier, row) for row in connection.execute(part).mappings()]
    page, more = rows[:limit], len(rows) > limit
    cells = [
        cell_json(row, marks.get(row["id"]), blind=False)
        | {"turns": turned.get(standing_of(row, threshold)) if tier else None}
        for tier, row in page
    ]
    ends = [f"{names}~{last}~{tier}~{row['doubt']!r}~{row['place']}" for tier, row in page[-1:]]
    return {"blind": False, "cells": cells, "next": ends[0] if more else None}


#: What is read of a cell for `cell_json`.
COLUMNS = (
    CellRow.id, CellRow.picture, CellRow.number, CellRow.place, CellRow.x, CellRow.y, CellRow.w, CellRow.h,
    CellRow.logit, CellRow.probability, CellRow.doubt, CellRow.strength, CellRow.decision, CellRow.reason, CellRow.gate,
)  # fmt: skip


def _sorted(query: Any, sort: str, after: str | None) -> Any:
    """The query in an order, from a cursor on."""
    if sort == "disagreement":
        return query.order_by(CellRow.place)
    value, place = _parsed(after, sort)
    if sort == "place":
        return query.where(CellRow.place > place).order_by(CellRow.place)
    if sort == "gate":
        query = query.order_by(CellRow.gate.desc(), CellRow.place.desc())
        return query if after is None else query.where(tuple_(CellRow.gate, CellRow.place) < tuple_(value, place))
    query = query.order_by(CellRow.strength.desc(), CellRow.place.desc())
    return (
        query if after is None else query.where(tuple_(CellRow.strength, CellRow.place) < tuple_(float(value), place))
    )


def _cursor(row: RowMapping, sort: str) -> str:
    """Where a page ends: what it is sorted by, and the place."""
    value = {"gate": row["gate"], "probability": repr(row["strength"])}.get(sort, "0")
    return f"{value}~{row['place']}"


def _parsed(after: str | None, sort: str) -> tuple[str, int]:
    if after is None:
        return "0", 0
    value, _, place = after.rpartition("~")
    try:
        if sort == "probability":
            float(value)
        return value, _whole(place)
    except ValueError as error:
        raise _no_page() from error


def _whole(told: str) -> int:
    value = int(told)
    if abs(value) >= 1 << 60:  # more than a database counts
        raise ValueError(told)
    return value


def _no_page() -> Problem:
    return Problem(422, "is not the `next` of a page", remedy="begin with the first page")


def _disagreeing(
    rows: list[RowMapping], marks: dict[str, Mark], after: str | None, labels: Mapping[str, Label]
) -> list[RowMapping]:
    """Cells that the reader calls otherwise than the model first."""

    def differs(row: RowMapping) -> bool:
        mark = marks.get(row["id"])
        if mark is None or row["decision"] not in ("blast", "normal"):
            return False
        return bool(labels[mark.label].blast != (row["decision"] == "blast"))

    ordered = [row for row in rows if differs(row)] + [row for row in rows if not differs(row)]
    if after is None:
        return ordered
    places = [row["place"] for row in ordered]
    last = _parsed(after, "disagreement")[1]
    return ordered[places.index(last) + 1 :] if last in places else []


def cell_json(row: RowMapping, mark: Mark | None, blind: bool) -> dict[str, Any]:
    """A cell as a person may see it, JSON-ready."""
    found: dict[str, Any] = {
        "id": row["id"], "picture": row["picture"], "number": row["number"], "place": row["place"],
        "box": None if row["x"] is None else [row["x"], row["y"], row["w"], row["h"]],
        "label": None if mark is None else mark.label, "reading": None if mark is None else mark.reading,
    }  # fmt: skip
    if blind:
        return found
    return found | {
        "decision": row["decision"], "probability": row["probability"], "doubt": row["doubt"], "gate": row["gate"],
        "reason": row["reason"], "asked": row["logit"] is not None,
    }  # fmt: skip
