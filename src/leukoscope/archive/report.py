"""The figures of an archive, a part at a time: patients, reasons to refer, drift, pictures worth a look first."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from leukoscope.archive.drift import Drift, MonthSums, added, drift_of
from leukoscope.archive.plan import Archive, Listed
from leukoscope.bundle.patients import Proportion, share_of
from leukoscope.bundle.read import read_bundle
from leukoscope.files import write_text
from leukoscope.page import render
from leukoscope.text import decodable

SHOWN: Final = 40  # patients, and pictures, in the page's lists
LEAST_JUDGED: Final = 10  # cells of a patient, to be listed by a share


@dataclass(slots=True)
class PatientCounts:
    """Rows of one patient, by what was said."""

    blast: int = 0
    normal: int = 0
    refer: int = 0
    turned_down: int = 0
    unreadable: int = 0
    pictures: int = 0

    @property
    def judged(self) -> int:
        """Cells that count: asked, and not turned down by the gate."""
        return self.blast + self.normal + self.refer


@dataclass(frozen=True, slots=True)
class Look:
    """A picture worth a look first.

    Attributes:
        path: of the picture.
        patient: whose it is.
        blast: cells called blast.
        judged: cells that count.
        strongest: the highest probability of blast among them.
    """

    path: str
    patient: str
    blast: int
    judged: int
    strongest: float

    @property
    def rank(self) -> tuple[int, float, str]:
        """Most blasts first, then the most probable; the path breaks ties, so that every run lists alike."""
        return self.blast, self.strongest, self.path


@dataclass(slots=True)
class ArchiveFigures:
    """What all parts together say. Memory grows with patients and months, not with cells.

    Attributes:
        parts: planned.
        missing: parts without whole rows, which are left out.
        decisions: rows by decision.
        reasons: rows that were referred or turned down, by reason.
        faults: unreadable pictures by the beginning of the reason.
        patients: counts by patient.
        months: sums by month.
        undated: white cells that are in no month's sums: without a date, or not asked.
        looks: the pictures worth a look first, the first first.
    """

    parts: int
    missing: list[int] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    patients: dict[str, PatientCounts] = field(default_factory=dict)
    months: dict[str, MonthSums] = field(default_factory=dict)
    undated: int = 0
    looks: list[Look] = field(default_factory=list)


def figures_of(archive: Archive) -> ArchiveFigures:
    """Read the parts one by one.

    Raises:
        LeukoscopeError: a part holds rows of another bundle.
    """
    found = ArchiveFigures(archive.planned.parts)
    heap: list[tuple[tuple[int, float, str], Look]] = []
    for number in range(archive.planned.parts):
        result = archive.result(number)
        if result is None:
            found.missing.append(number)
            continue
        for month, values in result.months.items():
            added(found.months, month, MonthSums.from_json(values))
        _read_part(archive, number, result.size, found, heap)
    asked = sum(each.judged + each.turned_down for each in found.patients.values())
    found.undated = max(0, asked - sum(sums.cells for sums in found.months.values()))
    found.looks = [look for _, look in sorted(heap, reverse=True)]
    return found


def _read_part(
    archive: Archive, number: int, size: int, found: ArchiveFigures, heap: list[tuple[tuple[int, float, str], Look]]
) -> None:
    listed = {decodable(each.path): each for each in archive.listed(number)}
    content = archive.rows(number).read_bytes()[:size]
    pictures: dict[str, list[dict[str, Any]]] = {}
    for line in content.splitlines():
        row = json.loads(line)
        pictures.setdefault(row["path"], []).append(row)
    for path, rows in pictures.items():
        look = _read_picture(path, listed[path], rows, found)
        if look.blast:
            put = heapq.heappush if len(heap) < SHOWN else heapq.heappushpop
            put(heap, (look.rank, look))


def _read_picture(path: str, listed: Listed, rows: list[dict[str, Any]], found: ArchiveFigures) -> Look:
    patient = listed.patient or Path(path).parent.name or "unknown"
    counts = found.patients.setdefault(patient, PatientCounts())
    counts.pictures += 1
    blast, judged, strongest = 0, 0, 0.0
    for row in rows:
        decision = row["decision"]
        found.decisions[decision] += 1
        if decision == "unreadable":
            counts.unreadable += 1
            found.faults[(row["error"] or "").split(":")[0].split(";")[0][:80]] += 1
            continue
        if row["gate"] == "turned down" or row["probability"] is None:
            counts.turned_down += 1
            found.reasons.update([each["reason"] for each in row["findings"][:1]] or [row["reason"] or "unknown"])
            continue
        judged += 1
        strongest = max(strongest, row["probability"])
        if decision == "refer":
            found.reasons["in the band between blast and normal"] += 1
        blast += decision == "blast"
        setattr(counts, decision, getattr(counts, decision) + 1)
    return Look(path, patient, blast, judged, strongest)


@dataclass(frozen=True, slots=True)
class PatientLine:
    """One line of the list of patients."""

    patient: str
    counts: PatientCounts
    share: Proportion | None


def patient_lines_of(figures: ArchiveFigures) -> list[PatientLine]:
    """Patients by share of judged cells called blast, the largest first; those with few judged cells last."""
    lines = []
    for patient, counts in figures.patients.items():
        called = [True] * counts.blast + [False] * (counts.judged - counts.blast)
        lines.append(PatientLine(patient, counts, share_of(called) if len(called) >= LEAST_JUDGED else None))
    return sorted(
        lines, key=lambda each: (-1.0 if each.share is None else each.share.value, each.patient), reverse=True
    )


def write_report(archive: Archive, out: Path) -> ArchiveFigures:
    """Write the page of an archive.

    Raises:
        LeukoscopeError: a part holds rows of another bundle, or the page cannot be written.
    """
    figures = figures_of(archive)
    facts = read_bundle(archive.bundle).facts
    drift = drift_of(figures.months, facts.gate)
    lines = patient_lines_of(figures)
    write_text(
        out,
        render(
            "archive/report.html.j2", archive=archive.planned, figures=figures, lines=lines[:SHOWN],
            more=max(0, len(lines) - SHOWN), drift=drift, curves=_curves(drift), least=LEAST_JUDGED,
            gate=facts.gate is not None,
        ),
    )  # fmt: skip
    return figures


_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 260, 46, 34


def _curves(drift: list[Drift]) -> dict[str, Any] | None:
    """The drawing of the drift in numbers: points of each line, ticks; None where there is nothing to draw."""
    values = [value for each in drift for value in (each.stain, each.embedding) if value is not None]
    if len(drift) < 2 or not values:
        return None
    top = max(1.0, *values) * 1.1
    step = (_WIDTH - _LEFT - 10) / (len(drift) - 1)

    def at(number: int, value: float) -> str:
        return f"{_LEFT + number * step:.1f},{(_HEIGHT - _BOTTOM) * (1 - value / top) + 6:.1f}"

    lines = {
        name: [at(number, value) for number, each in enumerate(drift) if (value := getattr(each, name)) is not None]
        for name in ("stain", "embedding")
    }
    every = max(1, round(len(drift) / 12))
    return {
        "width": _WIDTH, "height": _HEIGHT, "lines": {name: points for name, points in lines.items() if points},
        "months": [(f"{_LEFT + n * step:.1f}", each.month) for n, each in enumerate(drift) if n % every == 0],
        "levels": [(at(0, value).split(",")[1], f"{value:.1f}") for value in (0.0, 1.0, top / 1.1)], "left": _LEFT,
    }  # fmt: skip
