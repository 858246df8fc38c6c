"""From readings to one label for each cell: of one reader, of two who agree, or of whoever decides between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from leukoscope.service.database.tables import AdjudicationRow, CompletionRow, ReadingRow, WithdrawalRow
from leukoscope.service.labels import Label


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reader calls a cell now: the last reading that was not withdrawn."""

    reading: str
    seq: int
    cell: str
    reader: str
    label: str
    seen: bool
    at: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a cell is called in the end.

    Attributes:
        label: None where nobody read it, or two readers differ and nobody decided.
        by: `reader`, `both`, `adjudicated`, or `differ` and `unread`.
        labels: what each reader said.
    """

    label: str | None
    by: str
    labels: tuple[str, ...]


def current_marks(connection: Connection, case_id: str, reader: str | None = None) -> list[Mark]:
    """The marks of a case, by number of their event; of one reader, or of all."""
    taken_back = select(WithdrawalRow.reading).where(WithdrawalRow.reading == ReadingRow.id).exists()
    query = select(
        ReadingRow.id, ReadingRow.seq, ReadingRow.cell_id, ReadingRow.reader, ReadingRow.label, ReadingRow.seen,
        ReadingRow.at,
    ).where(ReadingRow.case_id == case_id, ~taken_back).order_by(ReadingRow.seq)  # fmt: skip
    if reader is not None:
        query = query.where(ReadingRow.reader == reader)
    last: dict[tuple[str, str], Mark] = {}
    for row in connection.execute(query):
        last[row.cell_id, row.reader] = Mark(
            row.id, row.seq, row.cell_id, row.reader, row.label, bool(row.seen), row.at
        )  # fmt: skip
    return sorted(last.values(), key=lambda mark: mark.seq)


def adjudicated(connection: Connection, case_id: str) -> dict[str, str]:
    """What was decided between two readers, by cell; the last decision stands."""
    query = select(AdjudicationRow.cell_id, AdjudicationRow.label).where(AdjudicationRow.case_id == case_id)
    return dict(connection.execute(query.order_by(AdjudicationRow.seq)).all())


def readers_done(connection: Connection, case_id: str, version: int) -> list[str]:
    """Who read this version of a case to its end, in the order in which they did."""
    done = select(CompletionRow.reader).where(CompletionRow.case_id == case_id, CompletionRow.version == version)
    return list(connection.scalars(done.order_by(CompletionRow.seq)))


def verdicts(
    cells: Iterable[str], marks: Iterable[Mark], readers: int, done: Sequence[str], decided: Mapping[str, str],
    labels: Mapping[str, Label],
) -> dict[str, Verdict]:  # fmt: skip
    """What each cell is called.

    Args:
        cells: all cells of the case.
        marks: in the order of their events.
        readers: how many the case asks for.
        done: who read to the end; with two readers, only the first two of them count.
        decided: between readers, by cell.
        labels: what labels mean.
    """
    counted = set(done[:readers])
    by_cell: dict[str, list[Mark]] = {}
    for mark in marks:
        if readers == 1 or mark.reader in counted:
            by_cell.setdefault(mark.cell, []).append(mark)
    found = {}
    for cell in cells:
        mine = by_cell.get(cell, [])
        told = tuple(mark.label for mark in mine)
        if cell in decided:
            found[cell] = Verdict(decided[cell], "adjudicated", told)
        elif readers == 1:
            found[cell] = Verdict(told[-1], "reader", told[-1:]) if told else Verdict(None, "unread", ())
        elif len(told) < readers:
            found[cell] = Verdict(None, "unread", told)
        else:
            agreed = agreed_label(told[0], told[1], labels)
            found[cell] = Verdict(agreed, "differ" if agreed is None else "both", told)
    return found


def agreed_label(one: str, other: str, labels: Mapping[str, Label]) -> str | None:
    """The label on which two agree; `normal` agrees with every kind of normal cell, which is then the label.

    >>> from leukoscope.service.labels import label_table
    >>> agreed_label("normal", "monocyte", label_table()), agreed_label("blast", "normal", label_table())
    ('monocyte', None)
    """
    if one == other:
        return one
    for general, special in ((one, other), (other, one)):
        kind = labels.get(special)
        if general == "normal" and kind is not None and kind.counts and not kind.blast:
            return special
    return None


def kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Agreement beyond chance of two readers of the same cells (J. Cohen, 1960); None where chance says it all.

    >>> kappa(["a", "a", "b", "b"], ["a", "a", "b", "a"])
    0.5
    """
    if not one:
        return None
    names = sorted({*one, *other})
    place = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    np.add.at(table, ([place[name] for name in one], [place[name] for name in other]), 1)
    return kappa_of_table(table)


def kappa_of_table(table: np.ndarray) -> float | None:
    """Kappa of a square table of counts; None where both readers have one class only."""
    total = table.sum()
    if not total:
        return None
    observed = np.trace(table) / total
    expected = float((table.sum(0) * table.sum(1)).sum()) / total**2
    if expected >= 1 - 1e-12:
        return None
    return float((observed - expected) / (1 - expected))
