"""From the answers for cells to one statement for each patient: the same for `predict` and for `field`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from leukoscope.bundle.patients import (
    Corrected,
    Proportion,
    Statement,
    corrected_share,
    share_of,
    state,
    subject_rule,
    telling,
    too_few_judged,
)
from leukoscope.bundle.schema import BundleFacts
from leukoscope.inference.answer import Answer
from leukoscope.inference.cells import Place
from leukoscope.inference.owners import Owners
from leukoscope.text import decodable, natural

STRONGEST = 10
MIXED_SCALE = 1.4  # ratio of the largest to the smallest scale of a patient's fields: another magnification
FEW_CELLS = 100  # judged cells below which a share is said to rest on few; a manual differential counts 100
_WORKLIST: dict[Statement, int] = {
    "blasts likely": 0, "refer": 1, "withheld": 2, "too few cells": 3, "blasts not seen": 4
}  # fmt: skip
_TOLD = {
    "unusual stain": "a stain that tells white cells badly",
    "larger than any white cell": "purple parts larger than any white cell",
    "out of focus": "out of focus",
    "underexposed": "underexposed",
    "overexposed": "overexposed",
    "photograph of a screen": "perhaps a photograph of a screen",
    "red cells would have": "a scale that the red cells contradict",
    "not plausible": "a scale that is not plausible",
    "to check the given scale": "no red cell to check the given scale with",
    "no white cell was found": "no white cell",
    "smudged": "smudged cells",
    "cut by the edge": "cells cut by the edge",
}  # what a picture's warning holds -> what the patient's statement calls it


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell that counts: place in the batch from 1, path, logit and probability, and its field, None where unknown.

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
class PatientStatement:
    """What the cells of one patient say together. Decision support for research, never a diagnosis.

    Attributes:
        patient: as named.
        pictures: files of the patient.
        repeated: those left out because another of the patient has the same bytes.
        unreadable: those without any cell: unreadable, or no white cell in them.
        cells: cells found in the others.
        turned_down: of these, cells that could not be judged: cut, smudged, without scale, or turned down by the gate.
        answered: cells that count: called blast, called normal, or referred in the bundle's band.
        blast: those called blast; ``normal`` and ``referred`` the others.
        share: of answered cells called blast, with its interval; None without answers, or where too few of the cells
            found could be judged.
        corrected: share of blasts, corrected for the network's errors; None without a rule or with too few cells.
        statement: `blasts likely`, `blasts not seen`, `refer`, `too few cells`, or `withheld`.
        reason: of the statement.
        strongest: the answered cells of highest logit, at most ten.
        warnings: what the statement may suffer from.
    """

    patient: str
    pictures: int
    repeated: int
    unreadable: int
    cells: int
    turned_down: int
    answered: int
    blast: int
    normal: int
    referred: int
    share: Proportion | None
    corrected: Corrected | None
    statement: Statement
    reason: str
    strongest: tuple[Judged, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The statement in sentences, the share as counted first; every number is one of the fields."""
        first = ""
        if self.share is not None:
            how = self.share.method if telling(self.share) else "too little for an interval"
            first = f"Called blast: {interval(self.share)} of the judged cells ({how}). "
        left = [
            (self.turned_down, f"{self.turned_down} referred without being judged"),
            (self.unreadable, f"{_counted(self.unreadable, 'picture')} unreadable or without a cell"),
            (self.repeated, f"{_counted(self.repeated, 'picture')} repeated"),
        ]
        apart = "".join(f", {words}" for number, words in left if number)
        text = f"{first}{self.statement.capitalize()}: {self.reason}. "
        text += f"{self.answered} of {self.cells} cells in {_counted(self.pictures, 'picture')} count{apart}."
        if self.statement == "blasts not seen" and self.corrected is not None:
            text += f" A share of blasts of up to {100 * self.corrected.high:.0f} % cannot be excluded."
        if self.corrected is not None and telling(self.corrected):
            text += f" Corrected for the errors of the network on other patients: {interval(self.corrected)} blasts."
        return text

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values in a fixed order."""
        share = self.share
        return {
            "patient": decodable(self.patient),
            "share": None if share is None else _ends(share) | {"fields": share.fields, "interval": share.method},
            "statement": self.statement,
            "reason": self.reason,
            "pictures": self.pictures,
            "cells": self.cells,
            "answered": self.answered,
            "blast": self.blast,
            "normal": self.normal,
            "referred": self.referred,
            "turned_down": self.turned_down,
            "unreadable": self.unreadable,
            "repeated": self.repeated,
            "corrected": None if self.corrected is None else _ends(self.corrected),
            "strongest": [
                {"path": decodable(c.path), "cell": c.cell}
                | {"probability": c.probability, "logit": c.logit, "decision": c.decision}
                for c in self.strongest
            ],
            "warnings": list(self.warnings),
            "words": self.words,
        }


def interval(share: Proportion | Corrected) -> str:
    """A share and its 95 % interval in percent; without one that says nothing.

    >>> interval(Corrected(0.5, 0.25, 0.754)), interval(Corrected(1.0, 0.06, 1.0))
    ('50 % [25, 75]', '100 %')
    """
    ends = f" [{100 * share.low:.0f}, {100 * share.high:.0f}]" if telling(share) else ""
    return f"{100 * share.value:.0f} %{ends}"


class PatientTally:
    """Collects answers and states each patient at the end.

    Args:
        facts: of the bundle that answers.
        owners: whose the pictures are.
    """

    def __init__(self, facts: BundleFacts, owners: Owners) -> None:
        self.owners = owners
        self._facts = facts
        self._patients: dict[str, _Collected] = {}
        self._number = 0
        self.nobodys = 0  # pictures without a patient, such as a folder that holds none

    def add(self, answer: Answer) -> None:
        """Take the next answer of the batch."""
        self._number += 1
        path = answer.path or ""
        patient = self.owners.patient.get(path)
        if patient is None:
            self.nobodys += 1
            return
        self._patients.setdefault(patient, _Collected()).add(self._number, path, answer, self.owners.field)

    def statements(self) -> list[PatientStatement]:
        """One statement for each patient, as a worklist: blasts likely first, not seen last, then by share."""
        told = [
            state_patient(
                self._facts, patient, each.judged, pictures=len(each.pictures) + len(each.repeated),
                repeated=len(each.repeated), unreadable=each.unreadable, turned_down=each.turned_down,
                warnings=_warnings(each),
            )
            for patient, each in self._patients.items()
        ]  # fmt: skip

        def rank(each: PatientStatement) -> tuple[object, ...]:
            share = -1.0 if each.share is None else each.share.value
            return _WORKLIST[each.statement], -share, natural(each.patient)

        return sorted(told, key=rank)


class _Collected:
    """What was seen of one patient."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []
        self.pictures: dict[str, tuple[Place | None, tuple[str, ...]]] = {}  # path -> place of a cell, warnings
        self.repeated: set[str] = set()
        self.unreadable = 0
        self.turned_down = 0
        self._first: dict[str, str] = {}  # bytes -> path

    def add(self, number: int, path: str, answer: Answer, fields: dict[str, str]) -> None:
        if answer.decision == "unreadable":
            self.unreadable += 1
            self.pictures[path] = (None, (answer.error or "",))
            return
        if answer.sha256 is not None and self._first.setdefault(answer.sha256, path) != path:
            self.repeated.add(path)
            return
        place = answer.place
        self.pictures[path] = (place, () if place is None else place.warnings)
        if answer.gate == "turned down" or answer.logit is None or answer.probability is None:
            self.turned_down += 1
            return
        field = fields.get(path) if place is None else path  # cells of one picture are of one field
        cell = None if place is None else place.number
        self.judged.append(Judged(number, path, answer.logit, answer.probability, answer.decision, field, cell))


def state_patient(
    facts: BundleFacts,
    patient: str,
    judged: Iterable[Judged],
    *,
    pictures: int,
    repeated: int = 0,
    unreadable: int = 0,
    turned_down: int = 0,
    warnings: tuple[str, ...] = (),
) -> PatientStatement:
    """State one patient from the cells that were judged.

    Fields are used where every cell has one. Statement and shares are withheld where too few of the cells found could
    be judged; statement and corrected share without a rule in the bundle that holds.
    """
    held = sorted(judged, key=lambda cell: (-cell.logit, cell.number))
    called = [cell.probability >= facts.decision.threshold for cell in held]
    fields = [cell.field for cell in held if cell.field is not None]
    share = share_of(called, fields if len(fields) == len(held) else None) if held else None
    rule = subject_rule(facts)
    corrected: Corrected | None = None
    statement: Statement
    reason = too_few_judged(len(held), len(held) + turned_down)
    if reason is not None:
        statement, share = "withheld", None
    elif isinstance(rule, str):
        statement, reason = "withheld", rule
    else:
        statement, reason = state(rule, 0.0 if share is None else share.value, len(held))
        if share is not None and statement != "too few cells":
            corrected = corrected_share(rule, share)
    referred = sum(cell.decision == "refer" for cell in held)
    return PatientStatement(
        patient, pictures, repeated, unreadable, len(held) + turned_down, turned_down, len(held), sum(called),
        len(held) - sum(called) - referred, referred, share, corrected, statement, reason, tuple(held[:STRONGEST]),
        warnings,
    )  # fmt: skip


def _warnings(patient: _Collected) -> tuple[str, ...]:
    places = [place for place, _ in patient.pictures.values() if place is not None]
    scales = [place.um_per_px for place in places if place.um_per_px is not None]
    total = len(patient.pictures)
    found = []
    if scales and max(scales) / min(scales) > MIXED_SCALE:
        found.append(
            f"mixed magnifications: {min(scales):.3g} to {max(scales):.3g} um per pixel; check that all fields "
            "are this patient's and their scales are right"
        )
    if len(scales) < len(places):
        found.append(f"scale unknown in {len(places) - len(scales)} of {total} pictures: their cells are referred")
    if len(patient.judged) < FEW_CELLS:
        found.append(f"only {len(patient.judged)} cells were judged, fewer than {FEW_CELLS}")
    found += _told([warnings for _, warnings in patient.pictures.values()])
    return tuple(found)


def _told(warnings: Sequence[tuple[str, ...]]) -> list[str]:
    """The pictures' own warnings, by kind and number of pictures."""
    times = {name: sum(any(part in text for text in each) for each in warnings) for part, name in _TOLD.items()}
    return [f"{name}: {number} of {len(warnings)} pictures" for name, number in times.items() if number]


def _ends(share: Proportion | Corrected) -> dict[str, Any]:
    return {"value": share.value, "low": share.low, "high": share.high}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
