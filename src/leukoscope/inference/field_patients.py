"""From fields to patients: which field is whose, and one statement for each patient."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukoscope.bundle.proportion import Proportion, share_of
from leukoscope.errors import DataError

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
