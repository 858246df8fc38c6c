"""What a reader sees of a cell and does: readings, undo, the end of the work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from leukoscope.service import answers
from leukoscope.service.casework.blind import is_blind_to
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.lanes import known_lanes
from leukoscope.service.casework.maps import small_of_slide
from leukoscope.service.casework.orders import COLUMNS, cell_json
from leukoscope.service.casework.slides import ask_again
from leukoscope.service.casework.verdicts import adjudicated, current_marks, readers_done, verdicts
from leukoscope.service.database.tables import (
    AdjudicationRow,
    BundleRow,
    CasePictureRow,
    CaseRow,
    CellRow,
    CompletionRow,
    JobRow,
    ReadingRow,
    RunRow,
    UserRow,
    WithdrawalRow,
)
from leukoscope.service.moments import new_id
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

MOST_READINGS = 500
NEIGHBOURS = 8


@dataclass(frozen=True, slots=True)
class NewReading:
    """One key as the page sends it: the identifier of the event, which makes it safe to send again."""

    event: str
    cell: str
    label: str
    ms: int | None = None


def get_cell(bench: Workbench, person: Person, cell_id: str) -> dict[str, Any]:
    """All that a person may see of one cell."""
    with bench.database.read() as connection:
        row, case = _cell_of(connection, cell_id)
        blind = is_blind_to(connection, case, person)
        mark = next((m for m in current_marks(connection, case["id"], person.id) if m.cell == cell_id), None)
        run = connection.execute(select(RunRow).where(RunRow.id == row["run_id"])).mappings().one()
        name = connection.scalar(
            select(CasePictureRow.name).where(
                CasePictureRow.case_id == case["id"], CasePictureRow.picture == row["picture"]
            )
        )
        found = cell_json(row, mark, blind) | {"case": case["id"], "name": name, "kind": run["kind"], "blind": blind}
        found |= {"um_per_px": run["um_per_px"]}
        if blind:
            return found
        others = [m for m in current_marks(connection, case["id"]) if m.cell == cell_id and m.reader != person.id]
        if case["readers"] > 1 and person.id not in readers_done(connection, case["id"], case["version"]):
            others = []  # two readers do not see each other before both have read
        return found | {
            "warnings": json.loads(run["warnings"]), "others": [{"label": m.label, "at": m.at} for m in others],
        }  # fmt: skip


def cell_words(bench: Workbench, person: Person, cell_id: str) -> str | None:
    """What is measured of a cell and where its heat map lies, in words; None where it was not asked.

    They are made when somebody stands at a cell, and not for a thousand of which most are passed by.

    Raises:
        Problem: the case is read blind.
    """
    with bench.database.read() as connection:
        row, case = _cell_of(connection, cell_id)
        if is_blind_to(connection, case, person):
            raise Problem(403, "the case is read blind: the words would tell what the model says")
        run = connection.execute(select(RunRow).where(RunRow.id == row["run_id"])).mappings().one()
        bundle = connection.scalar(select(BundleRow.path).where(BundleRow.id == run["bundle_id"]))
    if row["words"] is not None or row["logit"] is None:  # an earlier version kept them
        return None if row["words"] is None else str(row["words"])
    source = bench.store.path(run["picture"])
    if run["id"] not in _WORDED and bundle is not None and source.is_file():
        if len(_WORDED) > 1000:
            _WORDED.clear()
        pixels = bench.settings.limits.picture_pixels
        _WORDED[run["id"]] = bench.asker.call(answers.words, bundle, str(source), case["um_per_px"], pixels)
    return _WORDED.get(run["id"], {}).get(row["number"])


_WORDED: dict[str, dict[int, str]] = {}  # of each run, by number of the cell: what a picture shows never changes


def drawing(bench: Workbench, person: Person, cell_id: str, what: str) -> Path:
    """The file of a drawing of a cell: `small.jpg`, `frame.jpg` or `heat.png`. Those of a slide are drawn when asked.

    Raises:
        Problem: there is none, or it would tell what the model says.
    """
    with bench.database.read() as connection:
        row, case = _cell_of(connection, cell_id)
        if what == "heat.png" and is_blind_to(connection, case, person):
            raise Problem(403, "the case is read blind: the heat map would tell what the model says")
        run = connection.execute(select(RunRow).where(RunRow.id == row["run_id"])).mappings().one()
    if run["kind"] == "slide":
        return drawn_of_slide(bench, run, row, what)
    return drawn_file(bench, run, case, f"{row['number']}-{what}")


def drawn_of_slide(bench: Workbench, run: RowMapping, cell: RowMapping, what: str) -> Path:
    """A file that is drawn of a cell of a slide: a part of it at once, what the network saw by asking it again.

    Raises:
        Problem: the slide is not where it was, or the cell was not asked.
    """
    if what == "small.jpg":
        return small_of_slide(bench, run["id"], cell["number"])
    path = bench.drawn(run["id"], f"{cell['number']}-{what}")
    if path.is_file():
        return path
    with bench.database.read() as connection:
        bundle = connection.scalar(select(BundleRow.path).where(BundleRow.id == run["bundle_id"]))
    with bench.drawing:  # frame and heat map are asked for at once, and drawn together
        if not path.is_file() and bundle is not None and cell["logit"] is not None:
            ask_again(bench, run["id"], bundle, {cell["number"]}, drawn=True)
    if not path.is_file():
        raise Problem(404, "there is no such drawing")
    return path


def drawn_file(bench: Workbench, run: RowMapping, case: RowMapping, what: str) -> Path:
    """A file that was drawn of a picture; one that was lost, as when the power failed, is drawn again.

    Raises:
        Problem: there is none.
    """
    path = bench.drawn(run["id"], what)
    if not path.is_file() or not path.stat().st_size:
        source = bench.store.path(run["picture"])
        with bench.database.read() as connection:
            bundle = connection.scalar(select(BundleRow.path).where(BundleRow.id == run["bundle_id"]))
        if run["error"] is None and bundle is not None and source.is_file():
            bench.asker.call(
                answers.ask, bundle, [(str(source), f"{run['id'][-2:]}/{run['id']}")], str(bench.settings.derived),
                case["um_per_px"], bench.settings.limits.picture_pixels,
            )  # fmt: skip
    if not path.is_file():
        raise Problem(404, "there is no such drawing")
    return path


def neighbours(bench: Workbench, person: Person, cell_id: str) -> list[dict[str, Any]]:
    """The cells that look most alike to the network, of this case and of those that were read, with their labels."""
    with bench.database.read() as connection:
        row, case = _cell_of(connection, cell_id)
        if is_blind_to(connection, case, person):
            raise Problem(403, "the case is read blind: neighbours would tell what others said")
        if row["embedding"] is None:
            return []
        bundle = select(RunRow.bundle_id).where(RunRow.id == row["run_id"]).scalar_subquery()
        same = (
            select(CellRow.id, CellRow.case_id, CellRow.decision, CellRow.embedding)
            .join(RunRow, RunRow.id == CellRow.run_id)
            .where(RunRow.bundle_id == bundle, CellRow.id != cell_id, CellRow.embedding.is_not(None))
        )
        here = connection.execute(same.where(CellRow.case_id == case["id"]).limit(20_000)).all()
        signed = select(CaseRow.id).where(CaseRow.state == "signed", CaseRow.id != case["id"])
        rows = [*here, *connection.execute(same.where(CellRow.case_id.in_(signed)).limit(20_000))]
        if not rows:
            return []
        table = np.stack([np.frombuffer(each.embedding, np.float16) for each in rows]).astype(np.float32)
        mine = np.frombuffer(row["embedding"], np.float16).astype(np.float32)
        length = np.linalg.norm(table, axis=1) * np.linalg.norm(mine)
        alike = table @ mine / np.where(length > 0, length, 1)
        nearest = np.argsort(-alike, kind="stable")[:NEIGHBOURS]
        own = {mark.cell: mark.label for mark in current_marks(connection, case["id"], person.id)}
        foreign = {rows[k].case_id for k in nearest} - {case["id"]}
        read: dict[str, str] = {}
        for other in foreign:
            read |= {mark.cell: mark.label for mark in current_marks(connection, other)}
        read |= own
        return [
            {
                "id": rows[k].id, "alike": round(float(alike[k]), 4), "decision": rows[k].decision,
                "label": read.get(rows[k].id), "here": rows[k].case_id == case["id"],
            }
            for k in nearest
        ]  # fmt: skip


def add_readings(bench: Workbench, person: Person, case_id: str, given: list[NewReading]) -> dict[str, Any]:
    """Take keys: all of them are in the database when this returns, or none.

    An event that is there already, with the same content, is acknowledged again: sending twice is safe.

    Raises:
        Problem: the case is signed or finished by this reader, a cell is not of this case, a label is unknown, or an
            event is there with another content.
    """
    if not 0 < len(given) <= MOST_READINGS:
        raise Problem(422, f"1 to {MOST_READINGS} readings are taken at once")
    with bench.database.write() as connection:
        case = case_row(connection, case_id)
        for label in {each.label for each in given}:
            _check_label(connection, label)
        there = {
            row["id"]: row
            for row in connection.execute(
                select(ReadingRow).where(ReadingRow.id.in_([each.event for each in given]))
            ).mappings()
        }
        new: dict[str, NewReading] = {}
        for each in given:
            old = there.get(each.event)
            first = new.get(each.event)
            known = (old["cell_id"], old["reader"], old["label"]) if old is not None else None
            if known not in (None, (each.cell, person.id, each.label)) or first not in (None, each):
                raise Problem(409, f"the event {each.event} is there already with another content")
            if old is None:
                new[each.event] = each
        if new:
            _check_open(connection, case, person)
            wanted = {each.cell for each in new.values()}
            mine = select(CellRow.id).where(CellRow.case_id == case_id, CellRow.id.in_(wanted))
            missing = wanted - set(connection.scalars(mine))
            if missing:
                raise Problem(404, f"the cell {min(missing)} is not of this case")
        seen = not is_blind_to(connection, case, person)
        acts = [
            (
                "reading", case_id,
                {"event": each.event, "cell": each.cell, "label": each.label, "seen": seen, "version": case["version"]},
            )
            for each in new.values()
        ]  # fmt: skip
        links = bench.chain.append_all(connection, person.id, acts)
        if links:
            connection.execute(
                insert(ReadingRow),
                [
                    {
                        "id": each.event, "seq": link.seq, "case_id": case_id, "version": case["version"],
                        "cell_id": each.cell, "reader": person.id, "label": each.label, "seen": int(seen),
                        "ms": each.ms, "at": link.at,
                    }
                    for each, link in zip(new.values(), links, strict=True)
                ],
            )  # fmt: skip
        numbers = {link_event: link.seq for link_event, link in zip(new, links, strict=True)}
        numbers |= {event: row["seq"] for event, row in there.items()}
    return {"stored": [{"event": each.event, "seq": numbers[each.event]} for each in given]}


def withdraw(bench: Workbench, person: Person, event: str) -> dict[str, Any]:
    """Take a reading back: an event of its own; what was read before stands again.

    Returns:
        Cell and the label that stands now, None where there is none.

    Raises:
        Problem: there is no such reading of this reader, or the case is signed or finished.
    """
    with bench.database.write() as connection:
        row = connection.execute(select(ReadingRow).where(ReadingRow.id == event)).mappings().first()
        if row is None or row["reader"] != person.id:
            raise Problem(404, "there is no such reading of yours")
        gone = select(func.count()).where(WithdrawalRow.reading == event)
        if not connection.scalar(gone):
            case = case_row(connection, row["case_id"])
            _check_open(connection, case, person)
            body = {"event": event, "cell": row["cell_id"]}
            link = bench.chain.append(connection, person.id, "reading.withdrawn", row["case_id"], body)
            connection.execute(insert(WithdrawalRow).values(reading=event, seq=link.seq, by=person.id, at=link.at))
        marks = current_marks(connection, row["case_id"], person.id)
    last = next((mark for mark in marks if mark.cell == row["cell_id"]), None)
    return {
        "cell": row["cell_id"], "label": None if last is None else last.label,
        "reading": None if last is None else last.reading,
    }  # fmt: skip


def _check_label(connection: Connection, label: str) -> None:
    """A label that is no lane any more is still taken: a reading that waited for the network is not lost."""
    known = known_lanes(connection)
    if label not in known:
        raise Problem(422, f"there is no label {label!r}", remedy=f"use one of {', '.join(known)}")


def _check_open(connection: Connection, case: RowMapping, person: Person) -> None:
    if case["state"] == "signed":
        raise Problem(409, "the case is signed", remedy="amend it with a reason first")
    if person.id in readers_done(connection, case["id"], case["version"]):
        raise Problem(409, "you have finished this case", remedy="ask the signer to amend it")


def my_readings(bench: Workbench, person: Person, case_id: str, after: int) -> dict[str, Any]:
    """A reader's own acts after a number, for a second page that follows the first: readings and withdrawals."""
    with bench.database.read() as connection:
        case_row(connection, case_id)
        read = select(ReadingRow.seq, ReadingRow.id, ReadingRow.cell_id, ReadingRow.label).where(
            ReadingRow.case_id == case_id, ReadingRow.reader == person.id, ReadingRow.seq > after
        )
        acts = [
            {"seq": row.seq, "event": row.id, "cell": row.cell_id, "label": row.label}
            for row in connection.execute(read)
        ]
        gone = (
            select(WithdrawalRow.seq, WithdrawalRow.reading, ReadingRow.cell_id)
            .join(ReadingRow, ReadingRow.id == WithdrawalRow.reading)
            .where(ReadingRow.case_id == case_id, ReadingRow.reader == person.id, WithdrawalRow.seq > after)
        )
        acts += [{"seq": row.seq, "withdrawn": row.reading, "cell": row.cell_id} for row in connection.execute(gone)]
    return {"acts": sorted(acts, key=lambda act: act["seq"])}


def complete(bench: Workbench, person: Person, case_id: str) -> dict[str, Any]:
    """Say that one has read a case to its end; what is left is listed, and nothing more is taken from this reader.

    Raises:
        Problem: pictures still wait for answers, cells are not read, or enough readers have finished.
    """
    with bench.database.write() as connection:
        case = case_row(connection, case_id)
        done = readers_done(connection, case_id, case["version"])
        if person.id in done:
            return {"read_by": done, "state": case["state"]}
        if case["state"] != "open":
            raise Problem(409, f"the case is {case['state']} already")
        waiting = select(func.count()).where(JobRow.case_id == case_id, JobRow.state.in_(("waiting", "running")))
        if left := connection.scalar(waiting):
            raise Problem(409, f"{left} pictures wait for their answers", remedy="wait until they are there")
        cells = set(connection.scalars(select(CellRow.id).where(CellRow.case_id == case_id)))
        unread = cells - {mark.cell for mark in current_marks(connection, case_id, person.id)}
        if unread or not cells:
            raise Problem(
                409, f"{len(unread)} of {len(cells)} cells are not read", remedy="read them, if only as `not classed`",
                unread=len(unread),
            )  # fmt: skip
        body = {"version": case["version"]}
        link = bench.chain.append(connection, person.id, "case.read", case_id, body)
        connection.execute(
            insert(CompletionRow).values(
                case_id=case_id, version=case["version"], reader=person.id, seq=link.seq, at=link.at
            )
        )
        done.append(person.id)
        state = "complete" if len(done) >= case["readers"] else "open"
        if state == "complete":
            connection.execute(update(CaseRow).where(CaseRow.id == case_id).values(state=state))
    return {"read_by": done, "state": state}


def differing(bench: Workbench, person: Person, case_id: str) -> list[dict[str, Any]]:
    """Cells on which two readers differ and nobody has decided; only when both have read."""
    with bench.database.read() as connection:
        case = case_row(connection, case_id)
        done = readers_done(connection, case_id, case["version"])
        if len(done) < case["readers"]:
            raise Problem(409, "not all readers have read the case", remedy="wait until they have")
        rows = list(connection.execute(select(*COLUMNS).where(CellRow.case_id == case_id)).mappings())
        marks = current_marks(connection, case_id)
        found = verdicts(
            [row["id"] for row in rows],
            marks,
            case["readers"],
            done,
            adjudicated(connection, case_id),
            known_lanes(connection),
        )
        names = dict(connection.execute(select(UserRow.id, UserRow.name)).all())
        told: dict[str, list[dict[str, str]]] = {}
        for mark in marks:
            if mark.reader in done[: case["readers"]]:
                told.setdefault(mark.cell, []).append({"reader": names[mark.reader], "label": mark.label})
        return [
            cell_json(row, None, False) | {"readings": told.get(row["id"], [])}
            for row in sorted(rows, key=lambda row: int(row["place"]))
            if found[row["id"]].by == "differ"
        ]


def adjudicate(bench: Workbench, person: Person, case_id: str, cell: str, label: str, reason: str) -> dict[str, Any]:
    """Decide between two readers; who decides is none of them, or a signer.

    Raises:
        Problem: the two do not differ, the person is one of them and no signer, or the case is signed.
    """
    left = {row["id"] for row in differing(bench, person, case_id)}
    with bench.database.write() as connection:
        case = case_row(connection, case_id)
        _check_label(connection, label)
        if case["state"] != "complete":
            raise Problem(409, f"the case is {case['state']}, not complete")
        done = readers_done(connection, case_id, case["version"])
        if person.id in done[: case["readers"]] and "signer" not in person.rights:
            raise Problem(403, "whoever decides is not one of the two readers", remedy="ask a third person")
        if cell not in left and cell not in adjudicated(connection, case_id):
            raise Problem(409, "the readers do not differ on this cell")
        made = new_id()
        body = {"cell": cell, "label": label, "id": made}
        link = bench.chain.append(connection, person.id, "adjudicated", case_id, body)
        connection.execute(
            insert(AdjudicationRow).values(
                id=made, seq=link.seq, case_id=case_id, cell_id=cell, label=label, by=person.id, reason=reason,
                at=link.at,
            )
        )  # fmt: skip
    return {"cell": cell, "label": label, "left": len(left - {cell})}


def _cell_of(connection: Connection, cell_id: str) -> tuple[RowMapping, RowMapping]:
    row = connection.execute(select(CellRow).where(CellRow.id == cell_id)).mappings().first()
    if row is None:
        raise Problem(404, "there is no such cell")
    return row, case_row(connection, row["case_id"])
