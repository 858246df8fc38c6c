"""What a case says as it stands: before and after review, with intervals, and what is still to be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from leukoscope.bundle.patients import Proportion, exact_interval, share_of
from leukoscope.service import answers
from leukoscope.service.casework.blind import is_blind_to
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.jobs import ANSWERING
from leukoscope.service.casework.lanes import known_lanes
from leukoscope.service.casework.stakes import statement_as_read
from leukoscope.service.casework.verdicts import (
    Mark,
    Verdict,
    adjudicated,
    current_marks,
    kappa,
    readers_done,
    verdicts,
)
from leukoscope.service.database.tables import BundleRow, CellRow, JobRow, RunRow
from leukoscope.service.labels import Label
from leukoscope.service.people.accounts import Person
from leukoscope.service.workbench import Workbench
from leukoscope.text import RESEARCH_USE

STRONGEST = 10


@dataclass(frozen=True, slots=True)
class CaseFile:
    """All rows of a case, read in one moment.

    Attributes:
        case: its row; ``cells``, ``runs`` those of its cells and pictures.
        marks: of all readers, in the order of their events.
        done: who has read this version to its end; ``decided``: between them, by cell.
        found: what each cell is called; ``lanes``: what that means.
        waiting, failed: pictures without an answer.
    """

    case: RowMapping
    cells: list[RowMapping]
    runs: list[RowMapping]
    marks: list[Mark]
    done: list[str]
    decided: dict[str, str]
    found: dict[str, Verdict]
    lanes: Mapping[str, Label]
    waiting: int
    failed: int


def read_case(connection: Connection, case_id: str) -> CaseFile:
    """Read all of a case."""
    case = case_row(connection, case_id)
    columns = (
        CellRow.id, CellRow.run_id, CellRow.picture, CellRow.number, CellRow.place, CellRow.x, CellRow.logit,
        CellRow.probability, CellRow.doubt, CellRow.decision, CellRow.reason, CellRow.gate, CellRow.strength,
    )  # fmt: skip
    cells = list(connection.execute(select(*columns).where(CellRow.case_id == case_id)).mappings())
    runs = list(connection.execute(select(RunRow).where(RunRow.case_id == case_id).order_by(RunRow.id)).mappings())
    marks = current_marks(connection, case_id)
    done, decided = readers_done(connection, case_id, case["version"]), adjudicated(connection, case_id)
    lanes = known_lanes(connection)
    found = verdicts([cell["id"] for cell in cells], marks, case["readers"], done, decided, lanes)
    jobs = select(JobRow.state, func.count()).where(JobRow.case_id == case_id, JobRow.kind.in_(ANSWERING))
    states = dict(connection.execute(jobs.group_by(JobRow.state)).all())
    waiting = states.get("waiting", 0) + states.get("running", 0)
    return CaseFile(case, cells, runs, marks, done, decided, found, lanes, waiting, states.get("failed", 0))


def summarise(bench: Workbench, person: Person, case_id: str) -> dict[str, Any]:
    """The case as it stands for a person: one who reads it blind is told nothing of the model."""
    with bench.database.read() as connection:
        file = read_case(connection, case_id)
        blind = is_blind_to(connection, file.case, person)
        own = [mark for mark in file.marks if mark.reader == person.id]
        stakes = None if blind else statement_as_read(connection, case_id, file.cells, own, file.lanes)
    mine = {mark.cell: mark.label for mark in own}
    told: dict[str, Any] = {
        "blind": blind, "state": file.case["state"], "version": file.case["version"], "cells": len(file.cells),
        "read_by_me": len(mine), "target": file.case["target"], "mine": differential(list(mine.values()), file.lanes),
        "share": _as_it_stands(file, mine, use_model=not blind), "checks": checks(file), "notice": RESEARCH_USE,
    }  # fmt: skip
    if not blind:
        told |= {"before": before_review(bench, file), "agreement": agreement(file), "as_read": stakes}
    return told


def differential(labels: Sequence[str], known: Mapping[str, Label]) -> dict[str, Any]:
    """Counts of each label, how many count as white cells, and the share of blasts among them."""
    counts = Counter(labels)
    counting = sum(number for name, number in counts.items() if known[name].counts)
    blasts = sum(number for name, number in counts.items() if known[name].blast)
    return {
        "counts": {name: counts[name] for name in known if counts[name]},
        "white_cells": counting, "blasts": blasts,
        "percent": {
            name: round(100 * counts[name] / counting, 1) for name in known if counting and counts[name]
            and known[name].counts
        },
    }  # fmt: skip


def after_review(file: CaseFile) -> dict[str, Any]:
    """What the readers' labels say, with the interval of the share of blasts."""
    known = file.lanes
    by_id = {cell["id"]: cell for cell in file.cells}
    labelled = [(by_id[cell], each.label) for cell, each in file.found.items() if each.label is not None]
    rows = [(known[label].blast, cell) for cell, label in labelled if known[label].counts]
    return differential([label for _, label in labelled], known) | {"share": _share(rows)}


def before_review(bench: Workbench, file: CaseFile) -> dict[str, Any]:
    """What the bundle said, by its own rule for patients."""
    counts = Counter(cell["decision"] for cell in file.cells)
    turned_down = sum(cell["gate"] == "turned down" for cell in file.cells)
    told: dict[str, Any] = {
        "blast": counts["blast"], "normal": counts["normal"], "refer": counts["refer"], "turned_down": turned_down,
        "statement": None,
    }  # fmt: skip
    answered = [run for run in file.runs if run["error"] is None]
    if not answered:
        return told
    rows = [
        {
            "number": cell["number"], "place": cell["place"], "picture": cell["picture"], "logit": cell["logit"],
            "probability": cell["probability"], "decision": cell["decision"], "gate": cell["gate"],
            "in_field": cell["x"] is not None,
        }
        for cell in sorted(file.cells, key=lambda cell: int(cell["place"]))
    ]  # fmt: skip
    bundle = file.runs[-1]["bundle_id"]
    key = (file.case["id"], len(file.runs), len(rows))
    stated = _STATED.get(key)
    if stated is None:
        with bench.database.read() as connection:
            found = connection.execute(select(BundleRow).where(BundleRow.id == bundle)).mappings().one()
        stated = bench.decoder.call(
            answers.statement, found["path"], "the case", rows, len(file.runs), len(file.runs) - len(answered)
        )
        if len(_STATED) > 200:
            _STATED.clear()
        _STATED[key] = stated
    share = {name: stated[name] for name in ("share", "corrected", "statement", "reason", "words", "warnings")}
    return told | share


_STATED: dict[tuple[str, int, int], dict[str, Any]] = {}  # answers never change: what they state neither


def agreement(file: CaseFile) -> dict[str, Any] | None:
    """How far two readers agree, over all labels and over blast or not; None where there are not two who have read."""
    if file.case["readers"] < 2 or len(file.done) < 2:
        return None
    known = file.lanes
    both = [each.labels for each in file.found.values() if len(each.labels) == 2]
    one, other = [labels[0] for labels in both], [labels[1] for labels in both]

    def blast(labels: list[str]) -> list[str]:
        return ["blast" if known[label].blast else "other" for label in labels]

    return {
        "cells": len(both), "same": sum(a == b for a, b in both), "kappa": kappa(one, other),
        "kappa_blast": kappa(blast(one), blast(other)),
        "differ": sum(each.by == "differ" for each in file.found.values()), "decided": len(file.decided),
    }  # fmt: skip


def checks(file: CaseFile) -> list[dict[str, Any]]:
    """What must be, or should be, before a case is signed: each with whether it is met and whether it must be."""
    unread = sum(each.by == "unread" for each in file.found.values())
    differ = sum(each.by == "differ" for each in file.found.values())
    called = [each.label for each in file.found.values() if each.label is not None]
    counted = differential(called, file.lanes)["white_cells"]
    need = file.case["readers"]
    made = [
        ("answers", "every picture has its answers", file.waiting == 0, True, f"{file.waiting} wait"),
        ("failed", "every picture could be answered", file.failed == 0, False, f"{file.failed} could not"),
        ("cells", "there are cells", bool(file.cells), True, "none was found"),
        ("read", "every cell is read", unread == 0, True, f"{unread} are not"),
        ("readers", f"{need} of {need} readers have finished", len(file.done) >= need, True, f"{len(file.done)} have"),
        ("differ", "no two readers differ", differ == 0 or len(file.done) < need, True, f"{differ} cells are open"),
        (
            "target", f"{file.case['target']} white cells are counted", counted >= file.case["target"], False,
            f"{counted} are",
        ),
    ]  # fmt: skip
    return [
        {"name": name, "what": words, "met": met, "must": must} | ({} if met else {"open": left})
        for name, words, met, must, left in made
    ]


def _as_it_stands(file: CaseFile, mine: dict[str, str], *, use_model: bool) -> dict[str, Any] | None:
    """Share of blasts: what the person called a cell, and where nothing was, what the model says if it may be told."""
    known = file.lanes
    rows: list[tuple[bool, RowMapping]] = []
    for cell in file.cells:
        label = mine.get(cell["id"])
        if label is not None:
            if known[label].counts:
                rows.append((known[label].blast, cell))
        elif use_model and cell["decision"] in ("blast", "normal"):
            rows.append((cell["decision"] == "blast", cell))
    return _share(rows)


def _share(rows: Sequence[tuple[bool, RowMapping]]) -> dict[str, Any] | None:
    if not rows:
        return None
    in_fields = all(cell["x"] is not None for _, cell in rows)
    found = share_of([hit for hit, _ in rows], [cell["picture"] for _, cell in rows] if in_fields else None)
    return {
        "value": found.value, "low": found.low, "high": found.high, "cells": found.cells, "method": found.method,
        "to_halve": cells_to_halve(found),
    }  # fmt: skip


def cells_to_halve(share: Proportion) -> int:
    """About how many more cells, like those counted, would halve the interval.

    >>> cells_to_halve(share_of([True] * 50 + [False] * 50))
    289
    """
    goal = (share.high - share.low) / 2
    low, high = share.effective, 64 * share.effective
    for _ in range(40):
        middle = (low + high) / 2
        ends = exact_interval(share.value * middle, middle)
        low, high = (middle, high) if ends[1] - ends[0] > goal else (low, middle)
    return round(share.cells * (high / share.effective - 1))
