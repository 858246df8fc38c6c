"""Answers of `leukoscope field` given back as DICOM objects: into a folder, or to a server."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.cells.dicom import WHOLE_SLIDE, read_dataset
from leukoscope.dicom.codes import MAKER
from leukoscope.dicom.headers import Header, folder_name, level_path, read_headers, stem
from leukoscope.dicom.objects import (
    AnnotatedCell,
    Machine,
    Reader,
    cell_annotations,
    printed_report,
    read_annotations,
    read_report,
    statement_report,
)
from leukoscope.dicom.web import STORED, DicomWeb, is_address
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.files import atomic_path
from leukoscope.inference.folder import FIELDS
from leukoscope.tables import read_rows

SLIDE, CELLS = "slide.json", "cells.jsonl"  # of the results of `leukoscope slide`
_READING = ("path", "cell", "reader", "label")


@dataclass(frozen=True, slots=True)
class Given:
    """What was given back.

    Attributes:
        annotations: objects with cells.
        statements: objects with statements on patients.
        printed: PDFs.
        unanswered: pictures of the folder for which there is no answer with a cell.
    """

    annotations: int
    statements: int
    printed: int
    unanswered: int


def give_results(
    folder: Path, results: Path, to: str, *, machine: Machine, readings: Path | None = None, pdf: Path | None = None,
    patient: str | None = None,
) -> Given:  # fmt: skip
    """Make the objects for the answers on pictures of a folder, and store them. Twice given, they replace themselves.

    Args:
        folder: that `take_pictures` wrote.
        results: that `leukoscope field` wrote for it, or `leukoscope slide` for a slide in it; `patients.json` of
            `--by patient` gives the statements.
        to: folder or address.
        machine: what answered.
        readings: CSV with the columns path, cell, reader, label: what readers called cells.
        pdf: a printed report, of ``patient``, or of the only one.
        patient: give back this one alone, by the name of the folder.

    Raises:
        LeukoscopeError: there is nothing to give, something is damaged, or it cannot be stored.
    """
    store = _Store(to)
    headers = [each for each in read_headers(folder) if patient in (None, folder_name(each.patient))]
    if not headers:
        raise LeukoscopeError(f"holds no picture of {patient}", path=folder, remedy="name a folder of a patient")
    by_picture = {(folder / name).resolve(): (each, n) for each in headers for n, name in enumerate(each.pictures, 1)}
    slides = _slides(folder, headers)
    read = {} if readings is None else _readings(readings)
    answered: set[Path] = set()
    called: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    annotations = 0
    for record in _records(results):
        place = Path(record["path"]).resolve()
        found = by_picture.get(place) or slides.get(place.parent)
        if found is None or not record["cells"]:
            continue
        answered.add(place)
        header, frame = found
        cells = [_annotated(cell) for cell in record["cells"]]
        store.add(cell_annotations(header, frame, cells, machine))
        annotations += 1
        for reader, labels in read.get(place, {}).items():
            known = {cell.number: cell for cell in cells}
            unknown = sorted(set(labels) - set(known))
            if unknown:
                raise DataError(
                    f"names cell {unknown[0]} of {place.name}, which has none of that number", path=readings
                )
            own = [AnnotatedCell(n, label, known[n].outline) for n, label in sorted(labels.items())]
            store.add(cell_annotations(header, frame, own, Reader(reader)))
            called[header.patient, reader].update(labels.values())
            annotations += 1
    if not annotations:
        raise LeukoscopeError(
            f"holds no cell of a picture in {folder}", path=results, remedy="run `leukoscope field` on that folder"
        )
    of_patient: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        of_patient[header.patient].append(header)
    statements = _give_statements(store, results, of_patient, machine)
    for (whose, reader), counts in sorted(called.items()):
        told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        figures = {label: float(count) for label, count in sorted(counts.items())}
        store.add(statement_report(of_patient[whose], figures, f"{reader} called: {told}.", Reader(reader)))
        statements += 1
    if pdf is not None:
        if len(of_patient) != 1:
            raise LeukoscopeError(f"{len(of_patient)} patients are here", path=folder, remedy="name one with --patient")
        store.add(printed_report(headers[0], _bytes(pdf), pdf.name))
    store.flush()
    return Given(annotations, statements, int(pdf is not None), len(by_picture.keys() - answered))


def _slides(folder: Path, headers: list[Header]) -> dict[Path, tuple[Header, int]]:
    """The full level of each whole slide, by the folder of its levels."""
    found: dict[Path, tuple[Header, int]] = {}
    for header in headers:
        if str(header.dataset.SOPClassUID) == WHOLE_SLIDE:
            place = level_path(folder, header.dataset).parent.resolve()
            if place not in found or _across(header) > _across(found[place][0]):
                found[place] = header, 1
    return found


def _across(header: Header) -> int:
    return int(header.dataset.get("TotalPixelMatrixColumns") or 0)


class _Store:
    """Takes objects one by one; a server gets them some at a time."""

    def __init__(self, to: str) -> None:
        self._server = DicomWeb(to) if is_address(to) else None
        self._folder = Path(to)
        self._held: list[Any] = []

    def add(self, dataset: Any) -> None:
        if self._server is None:
            name = f"{dataset.Modality.lower()}-{stem(str(dataset.SOPInstanceUID))}.dcm"
            with atomic_path(self._folder / folder_name(str(dataset.PatientID)) / name) as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
            return
        self._held.append(dataset)
        if len(self._held) >= STORED:
            self.flush()

    def flush(self) -> None:
        if self._server is not None and self._held:
            self._server.store(self._held)
            self._held = []


def _give_statements(store: _Store, results: Path, of_patient: dict[str, list[Header]], machine: Machine) -> int:
    path = results / "patients.json"
    if not path.exists():
        return 0
    told = _json(path)
    by_folder = {folder_name(patient): headers for patient, headers in of_patient.items()}
    count = 0
    for each in told["patients"]:
        headers = by_folder.get(each["patient"])
        if headers is None:
            continue
        figures = {
            name: float(each[name])
            for name in ("answered", "blast", "normal", "referred", "turned_down", "cells", "pictures", "unreadable")
        }
        share = each["share"]
        if share is not None:
            figures |= {"share": share["value"], "share_low": share["low"], "share_high": share["high"]}
        store.add(statement_report(headers, figures, each["words"], machine, statement=each["statement"]))
        count += 1
    return count


def _annotated(cell: dict[str, Any]) -> AnnotatedCell:
    outline = np.array(cell["outline"], np.float64)
    return AnnotatedCell(
        cell["number"], cell["decision"], outline, cell["probability"], cell["logit"], cell["diameter_um"]
    )


def _records(results: Path) -> Iterator[dict[str, Any]]:
    """The answered fields of a folder of results; of one on a slide, the slide as one field."""
    if (results / SLIDE).exists():
        facts = _json(results / SLIDE)
        yield {"path": facts["path"], "cells": [json.loads(line) for line in _bytes(results / CELLS).splitlines()]}
        return
    paths = sorted((results / FIELDS).glob("*.json"))
    if not paths:
        raise LeukoscopeError("holds no answers", path=results, remedy="give the --out folder of `leukoscope field`")
    for path in paths:
        record = _json(path)
        if record.get("error") is None:
            yield record


def _readings(path: Path) -> dict[Path, dict[str, dict[int, str]]]:
    """Label by picture, reader and cell."""
    found: dict[Path, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for number, row in read_rows(path, _READING)[1]:
        if not row["cell"].isdecimal() or not row["label"] or not row["reader"]:
            raise DataError(f"line {number} names no cell, label or reader", path=path)
        found[(path.parent / row["path"]).resolve()][row["reader"]][int(row["cell"])] = row["label"]
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("is damaged", path=path, remedy="run `leukoscope field` again") from error


def told_objects(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """What DICOM objects say, as JSON-ready values: annotations and reports of ours, others by their kind.

    Args:
        paths: files, and folders that are searched to their depth.
    """
    for given in paths:
        for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
            if not path.is_file():
                continue
            dataset = read_dataset(_bytes(path), str(path))
            told: dict[str, Any] = {"file": str(path), "kind": getattr(dataset.SOPClassUID, "name", "unknown")}
            told["patient"] = str(dataset.get("PatientID") or "")
            if dataset.get("Manufacturer") == MAKER and dataset.Modality == "ANN":
                told["cells"] = [
                    asdict(each) | {"outline": each.outline.tolist()} for each in read_annotations(dataset)
                ]
            elif dataset.get("Manufacturer") == MAKER and dataset.Modality == "SR":
                told["report"] = read_report(dataset)
            yield told
