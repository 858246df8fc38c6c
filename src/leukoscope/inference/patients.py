"""From the answers for cells to one statement for each patient; and which picture or field belongs to whom."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Any, Literal

from leukoscope.bundle.patients import Corrected, Proportion, Statement, corrected_share, share_of, state, subject_rule
from leukoscope.bundle.schema import BundleFacts
from leukoscope.datasets.readers.cnmc import CellName
from leukoscope.datasets.table import read_lines
from leukoscope.errors import DataError, PictureError
from leukoscope.inference.answer import Prediction
from leukoscope.text import decodable

NameSource = Literal["auto", "name", "folder"]


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """Where each picture belongs.

    Attributes:
        how: where the subjects come from, in words.
        subject: of a picture, by its path as given; a picture that is missing here belongs to nobody.
        field: microscope field of a picture, by its path; missing where unknown.
    """

    how: str
    subject: dict[str, str]
    field: dict[str, str] = field(default_factory=dict)


def name_subjects(pictures: Sequence[Path | PictureError], source: NameSource | Path = "auto") -> SubjectNames:
    """Find the subject of each picture.

    Args:
        pictures: from `find_pictures`.
        source: `name`: the subject in names as of C-NMC 2019; `folder`: the folder that holds the picture; `auto`: the
            name if every picture has such a name, the folder if none has; or a CSV file with the columns path and
            subject, and field if known, its paths relative to its own folder.

    Raises:
        DataError: a name or a row that is missing; names of both kinds; a table that cannot be read or gives one
            picture to two subjects.
    """
    paths = [Path(str(item.path)) if isinstance(item, PictureError) else item for item in pictures]
    readable = [item for item in pictures if isinstance(item, Path)]
    if isinstance(source, Path):
        return _by_table(paths, readable, source)
    named = {fspath(path): name for path in paths if (name := CellName.parse(path.name)) is not None}
    without = [path for path in readable if fspath(path) not in named]
    if source == "name" or (source == "auto" and named):
        if without:
            mixed = f"{len(without)} of {len(readable)} names hold no subject as of C-NMC 2019"
            raise DataError(mixed, path=without[0], remedy="use --subjects-from folder, or a CSV file of path,subject")
        subject = {path: name.subject for path, name in named.items()}
        return SubjectNames("file names (C-NMC 2019)", subject, {path: name.field for path, name in named.items()})
    return _by_folder(paths, {path: name.field for path, name in named.items()})


def _by_folder(paths: Sequence[Path], field: dict[str, str]) -> SubjectNames:
    """The folder's name; its whole path where two folders have the same name."""
    folder = {fspath(path): path.parent.resolve() for path in paths}
    times = Counter(each.name for each in set(folder.values()))
    subject = {path: each.name if times[each.name] == 1 and each.name else str(each) for path, each in folder.items()}
    return SubjectNames("folders", subject, field)


def _by_table(paths: Sequence[Path], readable: Sequence[Path], table: Path) -> SubjectNames:
    root, rows = read_lines(table, ("path", "subject"))
    base = table.parent / (root or ".")
    owner: dict[Path, str] = {}
    place: dict[Path, str] = {}
    for line, row in rows:
        if not row["subject"] or not row["path"]:
            raise DataError(f"line {line}: no path or no subject", path=table, remedy="complete or remove the line")
        picture = (base / row["path"]).resolve()
        if owner.setdefault(picture, row["subject"]) != row["subject"]:
            raise DataError(f"line {line}: {row['path']} belongs to two subjects", path=table)
        if row.get("field"):
            place[picture] = row["field"]
    where = {fspath(path): path.resolve() for path in paths}
    absent = [path for path in readable if where[fspath(path)] not in owner]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(readable)} pictures are not in {table.name}", path=absent[0],
            remedy="add them to the table; its paths are relative to its own folder",
        )  # fmt: skip
    return SubjectNames(
        f"the table {table.name}",
        {path: owner[real] for path, real in where.items() if real in owner},
        {path: place[real] for path, real in where.items() if real in place},
    )


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


MIXED_SCALE = 1.4  # ratio of the largest to the smallest scale of a patient's fields: another magnification
_TOLD = {
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
}  # what a field's warning holds -> what the patient's statement calls it
FEW_CELLS = 100  # classified cells below which a share is said to rest on few; a manual differential counts 100


@dataclass(frozen=True, slots=True)
class FieldCounts:
    """What one field contributes. ``um_per_px`` None where the scale is unknown; ``warnings`` as it states them."""

    white_cells: int
    blast: int
    normal: int
    um_per_px: float | None
    warnings: tuple[str, ...] = ()


def share_of_fields(fields: Sequence[FieldCounts]) -> Proportion | None:
    """The share of blasts among the answered cells of fields, see `bundle.proportion.share_of`.

    Returns:
        None with fewer than two fields with answers: a single one says nothing about others.
    """
    answered = [
        (str(number), each.blast, each.normal) for number, each in enumerate(fields) if each.blast + each.normal
    ]
    if len(answered) < 2:
        return None
    called = [hit for _, blast, normal in answered for hit in (True,) * blast + (False,) * normal]
    return share_of(called, [name for name, blast, normal in answered for _ in range(blast + normal)])


def statement(patient: str, fields: Sequence[FieldCounts], unreadable: int = 0) -> dict[str, Any]:
    """One patient in numbers and one sentence, JSON-ready; no share is stated where no cell was answered for."""
    white, blast = sum(f.white_cells for f in fields), sum(f.blast for f in fields)
    normal = sum(f.normal for f in fields)
    answered = blast + normal
    share = blast / answered if answered else None
    proportion = share_of_fields(fields)
    interval = None if proportion is None else (proportion.low, proportion.high)
    return {
        "patient": patient,
        "fields": len(fields),
        "unreadable": unreadable,
        "white_cells": white,
        "classified": answered,
        "referred": white - answered,
        "blast": blast,
        "normal": normal,
        "blast_share": None if share is None else round(share, 4),
        "low": None if interval is None else round(interval[0], 4),
        "high": None if interval is None else round(interval[1], 4),
        "warnings": _warnings(fields, unreadable, answered, interval is None),
        "words": _words(patient, len(fields), white, answered, blast, interval),
    }


def patients_from_csv(path: Path) -> dict[str, str]:
    """Patient of each picture, from a table with the columns ``picture`` and ``patient``.

    Pictures are named by their path or by their file name alone.

    Raises:
        DataError: the table cannot be read, lacks a column, or gives one picture to two patients.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table cannot be read ({error})", path=path, remedy="give a CSV file in UTF-8") from error
    if not rows or not {"picture", "patient"} <= set(rows[0]):
        raise DataError("the table lacks the columns picture and patient", path=path, remedy="add a header line")
    found: dict[str, str] = {}
    for row in rows:
        picture, patient = (row["picture"] or "").strip(), (row["patient"] or "").strip()
        if not picture or not patient:
            raise DataError("a line names no picture or no patient", path=path, remedy="complete or remove it")
        if found.setdefault(picture, patient) != patient:
            raise DataError(f"{picture} belongs to two patients", path=path, remedy="correct the table")
    return found


def patient_of(picture: str, table: dict[str, str] | None) -> str:
    """The patient of a picture: from the table; without one, the folder that holds it.

    Raises:
        DataError: the table does not name the picture.
    """
    path = Path(picture)
    if table is None:
        return path.parent.name or path.resolve().parent.name
    for name in (picture, path.as_posix(), path.name):
        if name in table:
            return table[name]
    raise DataError("the table of patients does not name this picture", path=picture, remedy="add it to the table")


def _warnings(fields: Sequence[FieldCounts], unreadable: int, answered: int, no_interval: bool) -> list[str]:
    found = []
    scales = [f.um_per_px for f in fields if f.um_per_px is not None]
    if scales and max(scales) / min(scales) > MIXED_SCALE:
        found.append(
            f"mixed magnifications: {min(scales):.3g} to {max(scales):.3g} um per pixel; check that all fields "
            "are this patient's and their scales are right"
        )
    unknown = len(fields) - len(scales)
    if unknown:
        found.append(f"scale unknown in {unknown} of {len(fields)} fields: their cells are referred")
    if unreadable:
        found.append(f"{unreadable} {'field' if unreadable == 1 else 'fields'} could not be read")
    if not answered:
        found.append("no cell was answered for: nothing is said about blasts")
    elif answered < FEW_CELLS:
        found.append(f"only {answered} cells were classified, fewer than {FEW_CELLS}")
    if answered and no_interval:
        found.append("cells come from one field: no interval can be given")
    for part, name in _TOLD.items():
        times = sum(any(part in text for text in f.warnings) for f in fields)
        if times:
            found.append(f"{name}: {times} of {len(fields)} fields")
    return found


def _words(
    patient: str, fields: int, white: int, answered: int, blast: int, interval: tuple[float, float] | None
) -> str:
    base = f"{patient}: {white} white cells in {fields} fields, {answered} classified, {white - answered} referred"
    if not answered:
        return f"{base}; no share of blasts can be stated."
    share = f"{blast} of {answered} classified cells are called blast ({blast / answered:.0%}"
    span = "" if interval is None else f", 95 % interval {interval[0]:.0%} to {interval[1]:.0%}"
    return f"{base}; {share}{span})."
