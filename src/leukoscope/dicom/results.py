"""Answers of `leukoscope field` given back as DICOM objects: into a folder, or to a server."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.cells.dicom import WHOLE_SLIDE, read_dataset
from leukoscope.datasets.readers.review import load_review, reviewed_places
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
from leukoscope.inference.folder import FIELDS, read_record
from leukoscope.slides.stored import FACTS, read_facts, stored_cells
from leukoscope.tables import read_rows

_READING = ("path", "cell", "reader", "label")
_DIGITS = 20  # of a digest, by which a workbench names pictures that it hands out
_HANDED_OUT = re.compile(rf"pictures/([0-9a-f]{{{_DIGITS}}})(?:-(\d+))?\.\w+")


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
    folder: Path, results: Path, to: str, *, machine: Machine, readings: Path | None = None, reader: str | None = None,
    pdf: Path | None = None, patient: str | None = None,
) -> Given:  # fmt: skip
    """Make the objects for the answers on pictures of a folder, and store them. Twice given, they replace themselves.

    Args:
        folder: that `take_pictures` wrote.
        results: that `leukoscope field` wrote for it, or `leukoscope slide` for a slide in it; `patients.json` of
            `--by patient` gives the statements.
        to: folder or address.
        machine: what answered.
        readings: what readers called cells, see `read_readings`.
        reader: who gave the labels of a review.
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
    pictures = [*by_picture, *(Path(each["path"]).resolve() for each in _records(results))]
    read = {} if readings is None else read_readings(readings, reader, pictures)
    if readings is not None and not set(read) & set(pictures):
        raise DataError(
            "reads no cell of these pictures", path=readings,
            remedy="label these pictures; of what a workbench hands out take readings.csv",
        )  # fmt: skip
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
        for name, labels in read.get(place, {}).items():
            known = {cell.number: cell for cell in cells}
            unknown = sorted(set(labels) - set(known))
            if unknown:
                raise DataError(
                    f"names cell {unknown[0]} of {place.name}, which has none of that number", path=readings
                )
            own = [AnnotatedCell(n, label, known[n].outline) for n, label in sorted(labels.items())]
            store.add(cell_annotations(header, frame, own, Reader(name)))
            called[header.patient, name].update(labels.values())
            annotations += 1
    if not annotations:
        raise LeukoscopeError(
            f"holds no cell of a picture in {folder}", path=results, remedy="run `leukoscope field` on that folder"
        )
    of_patient: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        of_patient[header.patient].append(header)
    statements = _give_statements(store, results, of_patient, machine)
    for (whose, name), counts in sorted(called.items()):
        told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        figures = {label: float(count) for label, count in sorted(counts.items())}
        store.add(statement_report(of_patient[whose], figures, f"{name} called: {told}.", Reader(name)))
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
    told = _written(path)
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
    if (results / FACTS).exists():
        facts = read_facts(results)
        yield {"path": facts["path"], "cells": list(stored_cells(results, facts))}
        return
    paths = sorted((results / FIELDS).glob("*.json"))
    if not paths:
        raise LeukoscopeError("holds no answers", path=results, remedy="give the --out folder of `leukoscope field`")
    for path in paths:
        record = _written(path)
        if record["error"] is None:
            yield record


Readings = dict[Path, dict[str, dict[int, str]]]


def read_readings(path: Path, reader: str | None, pictures: Iterable[Path]) -> Readings:
    """Labels by picture, reader and cell, from any of three files.

    Args:
        path: a table with the columns path, cell, reader, label; a review (`leukoscope-review`) that was exported from
            a gallery or the app; or `readings.csv` of what a workbench hands out, which knows pictures by their digest.
        reader: who gave the labels of a review, which names nobody.
        pictures: those that can be meant.

    Raises:
        DataError: it is none of these, or names what is not there.
    """
    found: Readings = defaultdict(lambda: defaultdict(dict))
    if path.suffix.lower() == ".json":
        review = load_review(path)
        if reader is None:
            raise DataError("names no reader", path=path, remedy="say who gave the labels: --reader NAME")
        labelled = [each for each in review.cells if each.label is not None]
        if not labelled:
            raise DataError("labels no cell", path=path, remedy="label cells, and export again")
        for cell, place in zip(labelled, reviewed_places(labelled, review, path), strict=True):
            found[place][reader][1 if cell.cell is None else cell.cell] = str(cell.label)
        return found
    if reader is not None:
        raise DataError("names its readers itself", path=path, remedy="leave out --reader")
    rows = read_rows(path, ("path", "reader", "label"))[1]
    if rows and "suggestion_seen" in rows[0][1]:
        by_digest = {sha256(_bytes(place)).hexdigest()[:_DIGITS]: place for place in set(pictures)}
        for number, row in rows:
            name = _HANDED_OUT.fullmatch(row["path"])
            if row["path"] and name is None:
                raise DataError(f"line {number} names no picture as a workbench does", path=path)
            if name is not None and name[1] in by_digest:
                found[by_digest[name[1]]][row["reader"]][int(name[2] or 1)] = row["label"]
        return found
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


def _written(path: Path) -> dict[str, Any]:
    found = read_record(path)
    if found is None:
        raise DataError("is damaged or was altered", path=path, remedy="run `leukoscope field` again")
    return found


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
