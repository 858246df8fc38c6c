"""What is at stake in a case: the cells that would turn the patient's statement if one of them were read otherwise.

A statement is made of how many cells count and how many of them are called blast, see `bundle.patients.state`. So all
cells that stand alike bear alike on it: those that are called blast, those called normal, and those that do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Case, ColumnElement, Connection, RowMapping, and_, case, func, not_, or_, select

from leukoscope.bundle.patients import Statement, state, subject_rule, too_few_judged
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import BundleFacts, SubjectFacts
from leukoscope.service.casework.verdicts import Mark
from leukoscope.service.database.tables import BundleRow, CellRow, ReadingRow, RunRow
from leukoscope.service.labels import Label

Standing = Literal["blast", "normal", "uncounted"]
STANDINGS: Final[tuple[Standing, ...]] = ("blast", "normal", "uncounted")
_COUNTS = and_(CellRow.logit.is_not(None), CellRow.gate != "turned down")


@dataclass(frozen=True, slots=True)
class Tally:
    """Cells of a case by how they stand."""

    blast: int
    normal: int
    uncounted: int

    def moved(self, come: Standing, gone: Standing | None = None) -> Tally:
        """With one cell that stands so, which stood otherwise or is another one."""
        counts = {name: getattr(self, name) for name in STANDINGS}
        counts[come] += 1
        if gone is not None:
            counts[gone] -= 1
        return Tally(**counts)

    def statement(self, rule: SubjectFacts | str) -> Statement:
        """What a rule says of so many; a rule that does not hold withholds."""
        counted = self.blast + self.normal
        if too_few_judged(counted, counted + self.uncounted) is not None or isinstance(rule, str):
            return "withheld"
        return state(rule, self.blast / counted if counted else 0.0, counted)[0]


def turns(tally: Tally, rule: SubjectFacts | str) -> dict[Standing, Statement]:
    """What the statement would be if one more cell were read otherwise, by how that cell stands now; only changes."""
    now = tally.statement(rule)
    found: dict[Standing, Statement] = {}
    for stands, others in (("blast", ("normal",)), ("normal", ("blast",)), ("uncounted", ("blast", "normal"))):
        if getattr(tally, stands):
            told = [tally.moved(other, stands).statement(rule) for other in others]  # type: ignore[arg-type]
            other_than_now = [each for each in told if each != now]
            if other_than_now:
                found[stands] = other_than_now[0]  # type: ignore[index]
    return found


def at_stake(
    connection: Connection, case_id: str, marks: Iterable[Mark], labels: Mapping[str, Label]
) -> tuple[dict[Standing, Statement], float]:
    """How one more reading may turn the statement of a case, and the threshold by which cells stand as they do.

    Cells stand as the reader called them; where nothing was read, as the bundle did that answered last.
    """
    tally, threshold, rule = _as_read(connection, case_id, marks, labels)
    return ({} if isinstance(rule, str) else turns(tally, rule)), threshold


def statement_as_read(
    connection: Connection,
    case_id: str,
    cells: Iterable[RowMapping],
    marks: Iterable[Mark],
    labels: Mapping[str, Label],
) -> dict[str, Any] | None:
    """What the bundle's rule says of a case as it was read, and what could still turn it.

    Args:
        connection: where it is.
        case_id: of the case.
        cells: its cells.
        marks: of one reader.
        labels: what labels mean.

    Returns:
        The `statement`; how many unread `cells` there are of which each, called otherwise, would turn it alone, and the
        statements that it would turn to. None where the bundle has no rule that holds.
    """
    read = list(marks)
    tally, threshold, rule = _as_read(connection, case_id, read, labels)
    if isinstance(rule, str):
        return None
    turned, known = turns(tally, rule), {mark.cell for mark in read}
    open_ = Counter(standing_of(cell, threshold) for cell in cells if cell["id"] not in known)
    left = {name: statement for name, statement in turned.items() if open_[name]}
    return {
        "statement": tally.statement(rule), "cells": sum(open_[name] for name in left),
        "turns_to": sorted(set(left.values())),
    }  # fmt: skip


def _as_read(
    connection: Connection, case_id: str, marks: Iterable[Mark], labels: Mapping[str, Label]
) -> tuple[Tally, float, SubjectFacts | str]:
    """How the cells of a case stand with a reader's marks; threshold and rule of the bundle."""
    tally, threshold, rule = _answered(connection, case_id)
    stands = _standing(threshold)
    called = {mark.cell: labels[mark.label] for mark in marks}
    touched = select(ReadingRow.cell_id).where(ReadingRow.case_id == case_id)
    read = select(CellRow.id, stands).where(CellRow.case_id == case_id, CellRow.id.in_(touched))
    for cell, stood in connection.execute(read) if called else ():
        label = called.get(cell)
        if label is not None:
            tally = tally.moved("uncounted" if not label.counts else "blast" if label.blast else "normal", stood)
    return tally, threshold, rule


def _standing(threshold: float) -> Case[Any]:
    return case((not_(_COUNTS), "uncounted"), (CellRow.strength >= threshold, "blast"), else_="normal")


def _answered(connection: Connection, case_id: str) -> tuple[Tally, float, SubjectFacts | str]:
    """How the cells of a case stand by their answers, which never change; with threshold and rule of the bundle."""
    cells = connection.scalar(select(func.count()).where(CellRow.case_id == case_id)) or 0
    known = _ANSWERED.get((case_id, cells))
    if known is not None:
        return known
    last = select(func.max(RunRow.id)).where(RunRow.case_id == case_id).scalar_subquery()
    bundle = connection.execute(
        select(BundleRow.path, BundleRow.digest)
        .join(RunRow, RunRow.bundle_id == BundleRow.id)
        .where(RunRow.id == last)
    ).first()  # fmt: skip
    if bundle is None:
        return Tally(0, 0, 0), 1.0, "nothing was answered"
    facts = _facts(bundle.path, bundle.digest)
    rule, threshold = subject_rule(facts), facts.decision.threshold
    query = select(_standing(threshold).label("stands"), func.count()).where(CellRow.case_id == case_id)
    counts: dict[str, int] = dict(connection.execute(query.group_by("stands")).all())
    if len(_ANSWERED) > 200:
        _ANSWERED.clear()
    found = _ANSWERED[case_id, cells] = Tally(**dict.fromkeys(STANDINGS, 0) | counts), threshold, rule
    return found


_ANSWERED: dict[tuple[str, int], tuple[Tally, float, SubjectFacts | str]] = {}


def standing_so(names: Iterable[str], threshold: float) -> ColumnElement[bool]:
    """The condition on a cell that nobody read: it stands in one of these ways."""
    known: dict[str, ColumnElement[bool]] = {
        "blast": and_(_COUNTS, CellRow.strength >= threshold), "normal": and_(_COUNTS, CellRow.strength < threshold),
        "uncounted": not_(_COUNTS),
    }  # fmt: skip
    return or_(*(known[name] for name in names))


def standing_of(row: RowMapping, threshold: float) -> Standing:
    """How a cell stands that nobody read, by its row."""
    if row["logit"] is None or row["gate"] == "turned down":
        return "uncounted"
    return "blast" if row["strength"] >= threshold else "normal"


@lru_cache(maxsize=8)
def _facts(path: str, digest: str) -> BundleFacts:
    return read_bundle(Path(path)).facts
