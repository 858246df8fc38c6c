"""From the answers for cells to one statement for each subject."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from leukoscope.bundle.aggregation import Corrected, Statement, corrected_share, state, subject_rule
from leukoscope.bundle.proportion import Proportion, share_of
from leukoscope.bundle.schema import BundleFacts
from leukoscope.inference.prediction import Prediction
from leukoscope.inference.subject_names import SubjectNames
from leukoscope.printing import decodable

STRONGEST = 10


@dataclass(frozen=True, slots=True)
class Cell:
    """An answered cell: place in the batch from 1, path, logit and probability, and its field, None where unknown.

    ``cell`` is its number in the picture, where it was found in a field.
    """

    number: int
    path: str
    logit: float
    probability: float
    decision: str
    field: str | None
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class SubjectStatement:
    """What the cells of one subject say together. Decision support for research, never a diagnosis.

    Attributes:
        subject: as named.
        pictures: pictures of the subject; a white cell found in a field counts as one.
        repeated: pictures left out because another of the subject has the same bytes.
        unreadable: pictures without an answer.
        turned_down: pictures that the bundle's gate did not find fit to be judged; their answers are not counted.
        answered: cells that count: called blast, called normal, or referred in the bundle's band.
        blast: those called blast; ``normal`` and ``referred`` the others.
        share: of answered cells called blast, with its interval; None without answers.
        corrected: share of blasts, corrected for the network's errors; None without a rule or with too few cells.
        statement: `blasts likely`, `blasts not seen`, `refer`, `too few cells`, or `withheld`.
        reason: of the statement.
        strongest: the answered cells of highest logit, at most ten.
    """

    subject: str
    pictures: int
    repeated: int
    unreadable: int
    turned_down: int
    answered: int
    blast: int
    normal: int
    referred: int
    share: Proportion | None
    corrected: Corrected | None
    statement: Statement
    reason: str
    strongest: tuple[Cell, ...] = field(repr=False)

    @property
    def words(self) -> str:
        """The statement in sentences; every number is one of the fields."""
        left = [
            (self.turned_down, "not fit to be judged"),
            (self.unreadable, "unreadable"),
            (self.repeated, "repeated"),
        ]
        apart = "".join(f", {number} {word}" for number, word in left if number)
        unit = "cells" if any(cell.cell is not None for cell in self.strongest) else "pictures"
        text = f"{self.statement.capitalize()}: {self.reason}. {self.answered} of {self.pictures} {unit} count{apart}."
        if self.share is not None:
            text += f" Called blast: {interval(self.share)} of them ({self.share.method})."
        if self.statement == "blasts not seen" and self.corrected is not None:
            text += f" A share of blasts of up to {100 * self.corrected.high:.0f} % cannot be excluded."
        if self.corrected is not None:
            text += f" Corrected for the errors of the network on other patients: {interval(self.corrected)} blasts."
        return text

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values in a fixed order."""
        share = self.share
        return {
            "subject": decodable(self.subject),
            "statement": self.statement,
            "reason": self.reason,
            "pictures": self.pictures,
            "answered": self.answered,
            "blast": self.blast,
            "normal": self.normal,
            "referred": self.referred,
            "turned_down": self.turned_down,
            "unreadable": self.unreadable,
            "repeated": self.repeated,
            "share": None if share is None else _ends(share) | {"fields": share.fields, "interval": share.method},
            "corrected": None if self.corrected is None else _ends(self.corrected),
            "strongest": [
                {"path": decodable(c.path), "cell": c.cell}
                | {"probability": c.probability, "logit": c.logit, "decision": c.decision}
                for c in self.strongest
            ],
            "words": self.words,
        }


def interval(share: Proportion | Corrected) -> str:
    """A share and its 95 % interval in percent.

    >>> interval(Corrected(0.5, 0.25, 0.754))
    '50 % [25, 75]'
    """
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"


class SubjectTally:
    """Collects answers and states each subject at the end.

    Args:
        facts: of the bundle that answers.
        names: whose the pictures are.
    """

    def __init__(self, facts: BundleFacts, names: SubjectNames) -> None:
        self.names = names
        self._facts = facts
        self._cells: dict[str, list[Cell]] = {}
        self._seen: dict[str, set[str]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._number = 0
        self.nobodys = 0  # pictures without a subject, such as a folder that holds none

    def add(self, prediction: Prediction) -> None:
        """Take the next answer of the batch."""
        self._number += 1
        path = prediction.path or ""
        subject = self.names.subject.get(path)
        if subject is None:
            self.nobodys += 1
            return
        counts = self._counts.setdefault(
            subject, dict.fromkeys(("pictures", "repeated", "unreadable", "turned_down"), 0)
        )
        counts["pictures"] += 1
        seen = self._seen.setdefault(subject, set())
        cell = None if prediction.place is None else prediction.place.number
        known = None if prediction.sha256 is None else f"{prediction.sha256} {cell}"
        if known is not None and known in seen:
            counts["repeated"] += 1
        elif prediction.decision == "unreadable":
            counts["unreadable"] += 1
        elif prediction.gate == "turned down" or prediction.logit is None or prediction.probability is None:
            counts["turned_down"] += 1
        else:
            field = self.names.field.get(path) if cell is None else path  # cells of one picture are of one field
            answered = Cell(
                self._number, path, prediction.logit, prediction.probability, prediction.decision, field, cell
            )
            self._cells.setdefault(subject, []).append(answered)
        if known is not None:
            seen.add(known)

    def statements(self) -> list[SubjectStatement]:
        """One statement for each subject, in natural order of names."""
        return [
            state_subject(self._facts, subject, self._cells.get(subject, ()), **self._counts[subject])
            for subject in sorted(self._counts, key=_natural)
        ]


def state_subject(
    facts: BundleFacts,
    subject: str,
    cells: Iterable[Cell],
    *,
    pictures: int,
    repeated: int = 0,
    unreadable: int = 0,
    turned_down: int = 0,
) -> SubjectStatement:
    """State one subject from its answered cells.

    Fields are used where every cell has one. Without a rule in the bundle that holds, the statement and the corrected
    share are withheld.
    """
    held = sorted(cells, key=lambda cell: (-cell.logit, cell.number))
    called = [cell.probability >= facts.decision.threshold for cell in held]
    fields = [cell.field for cell in held if cell.field is not None]
    share = share_of(called, fields if len(fields) == len(held) else None) if held else None
    rule = subject_rule(facts)
    corrected: Corrected | None = None
    statement: Statement
    if isinstance(rule, str):
        statement, reason = "withheld", rule
    else:
        statement, reason = state(rule, 0.0 if share is None else share.value, len(held))
        if share is not None and statement != "too few cells":
            corrected = corrected_share(rule, share)
    referred = sum(cell.decision == "refer" for cell in held)
    return SubjectStatement(
        subject, pictures, repeated, unreadable, turned_down, len(held), sum(called),
        len(held) - sum(called) - referred, referred, share, corrected, statement, reason, tuple(held[:STRONGEST]),
    )  # fmt: skip


def _ends(share: Proportion | Corrected) -> dict[str, Any]:
    return {"value": share.value, "low": share.low, "high": share.high}


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """2 before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts)
