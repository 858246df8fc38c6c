"""Readings handed on: cells with their labels as a data set that `leukoscope` reads, all readings, COCO, agreement."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from leukoscope._version import __version__
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers.review import Review, ReviewedCell
from leukoscope.datasets.record import Record
from leukoscope.files import atomic_folder, write_bytes, write_json, write_text
from leukoscope.service import answers
from leukoscope.service.casework.jobs import Job
from leukoscope.service.casework.slides import ask_again
from leukoscope.service.casework.summary import CaseFile, read_case
from leukoscope.service.database.tables import BundleRow, CaseRow, CellRow, PictureRow
from leukoscope.service.database.triggers import ERASED
from leukoscope.service.moments import utc_now
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench
from leukoscope.tables import csv_text

FILES = ("manifest.csv", "readings.csv", "coco.json", "review.json", "about.json")
_SUFFIX = {"image/bmp": "bmp", "image/png": "png", "image/jpeg": "jpg", "image/tiff": "tif", "image/webp": "webp"}
_READINGS = (
    "path", "case", "subject", "cell", "reader", "label", "suggestion_seen", "at", "final_label", "final_by",
    "decision", "probability", "bundle",
)  # fmt: skip


def run_export(bench: Workbench, job: Job) -> dict[str, Any]:
    """Hand out the signed cases: work of the kind `export`."""
    return export_readings(
        bench, bench.settings.exports / job.id, job.by, held_out=bool(job.body.get("held_out")), job=job.id
    )


def export_readings(bench: Workbench, folder: Path, by: str, *, held_out: bool, job: str = "") -> dict[str, Any]:
    """Write the signed cases as a data set.

    `manifest.csv` lists each cell that counts as a white cell once, by patient, with what it was called in the end;
    `readings.csv` every reading of every reader with whether the suggestion was seen; `coco.json` the places of cells
    in fields; `review.json` the cells of the manifest as a gallery exports them, without patients; `pictures/` the
    cells on black, as they came or as the network saw them in a field.

    Args:
        bench: whose cases.
        folder: new.
        by: who wants it.
        held_out: leave out every subject of the fixed set, on which new bundles are measured.
        job: the piece of work that tells how far it is.

    Raises:
        Problem: no signed case is left.
    """
    with bench.database.read() as connection:
        signed = select(CaseRow.id, CaseRow.subject, CaseRow.fixed_set).where(
            CaseRow.state == "signed", CaseRow.subject != ERASED
        )
        rows = list(connection.execute(signed.order_by(CaseRow.id)).mappings())
        kept_back = {row["subject"] for row in rows if row["fixed_set"]} if held_out else set()
        wanted = [row["id"] for row in rows if row["subject"] not in kept_back]
        files = [read_case(connection, case) for case in wanted]
        known = {row["id"]: row for row in connection.execute(select(BundleRow)).mappings()}
        bundles = {name: str(row["path"]) for name, row in known.items()}
        media = dict(connection.execute(select(PictureRow.sha256, PictureRow.media)).all())
    asked = {run["bundle_id"] for file in files for run in file.runs}
    names, digests = ({known[each][what] for each in asked} for what in ("name", "digest"))
    if not files:
        raise Problem(409, "no signed case is there to be handed out", remedy="sign cases first")
    records: list[Record] = []
    seen: set[str] = set()
    reviewed: list[ReviewedCell] = []
    readings: list[tuple[object, ...]] = []
    with atomic_folder(folder) as place:
        for number, file in enumerate(files):
            bench.say(job, "signed cases are handed out", number, len(files))
            paths = _write_cells(bench, file, place, bundles, media)
            told = dict(_records(file, paths, seen))
            records += told.values()
            reviewed += _reviewed(file, place, told)
            readings += _readings(file, paths)
        if not records:
            raise Problem(409, "no cell of the signed cases counts as a white cell", remedy="sign other cases")
        Manifest(place, tuple(records), "workbench").write_csv(place / "manifest.csv")
        write_text(place / "readings.csv", csv_text(_READINGS, readings))
        write_text(place / "coco.json", json.dumps(_coco(bench, files, media), ensure_ascii=False))
        review = Review(
            format="leukoscope-review", version=1, root="", created=utc_now(), bundle=" ".join(sorted(names)),
            bundle_digest=" ".join(sorted(digests)), leukoscope=__version__, cells=tuple(reviewed),
        )  # fmt: skip
        write_text(place / "review.json", review.model_dump_json(indent=1))
        about = {
            "cases": len(files), "cells": len(records), "readings": len(readings),
            "blasts": sum(record.label == 1 for record in records), "left_out_subjects": len(kept_back),
        }  # fmt: skip
        write_json(place / "about.json", about)
    with bench.database.write() as connection:
        bench.chain.append(connection, by, "exported", folder.name, about)
    return about


def _write_cells(
    bench: Workbench, file: CaseFile, place: Path, bundles: dict[str, str], media: dict[str, str]
) -> dict[str, str]:
    """Write the picture of each cell that was labelled; its path by cell, empty where there is none."""
    runs = {run["id"]: run for run in file.runs}
    frames: dict[str, dict[int, bytes]] = {}
    paths = {}
    for cell in file.cells:
        if file.found[cell["id"]].label is None:
            continue
        run, sha256 = runs[cell["run_id"]], cell["picture"]
        if run["kind"] == "cell":
            name = f"pictures/{sha256[:20]}.{_SUFFIX.get(media[sha256], 'bin')}"
            target = place / name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(bench.store.path(sha256), target)
        else:
            if run["id"] not in frames and run["kind"] == "slide":
                own = [each for each in file.cells if each["run_id"] == run["id"]]
                called = {each["number"] for each in own if file.found[each["id"]].label is not None}
                again = ask_again(bench, run["id"], bundles[run["bundle_id"]], called)
                frames[run["id"]] = {number: frame for number, (_, frame) in again.items() if frame is not None}
            elif run["id"] not in frames:
                frames[run["id"]] = bench.asker.call(
                    answers.frames, bundles[run["bundle_id"]], str(bench.store.path(sha256)), file.case["um_per_px"],
                    bench.settings.limits.picture_pixels,
                )  # fmt: skip
            content = frames[run["id"]].get(cell["number"])
            name = "" if content is None else f"pictures/{sha256[:20]}-{cell['number']}.png"
            if content is not None:
                write_bytes(place / name, content)
        paths[cell["id"]] = name
    return paths


def _records(file: CaseFile, paths: dict[str, str], seen: set[str]) -> Iterator[tuple[str, Record]]:
    """The cells of a case that count, by their identifiers, each picture of a cell once over all cases."""
    known, subject = file.lanes, file.case["subject"]
    for cell in file.cells:
        label = file.found[cell["id"]].label
        path = paths.get(cell["id"], "")
        if label is None or not known[label].counts or not path or path in seen:
            continue
        seen.add(path)
        field = None if cell["x"] is None else f"{file.case['id'][:8]}-{cell['picture'][:8]}"
        yield cell["id"], Record(path, int(known[label].blast), subject, subject, None, "workbench", field)


def _reviewed(file: CaseFile, place: Path, told: Mapping[str, Record]) -> Iterator[ReviewedCell]:
    """The same cells as a review has them; the laboratory's own label is the note."""
    for cell in file.cells:
        record = told.get(cell["id"])
        if record is None:
            continue
        yield ReviewedCell(
            path=record.path, sha256=hashlib.sha256((place / record.path).read_bytes()).hexdigest(),
            decision=cell["decision"], probability=cell["probability"],
            label="blast" if record.label == 1 else "normal", note=file.found[cell["id"]].label or "",
        )  # fmt: skip


def _readings(file: CaseFile, paths: dict[str, str]) -> Iterator[tuple[object, ...]]:
    cells = {cell["id"]: cell for cell in file.cells}
    bundle = {run["id"]: run["bundle_id"] for run in file.runs}
    for mark in file.marks:
        cell, verdict = cells[mark.cell], file.found[mark.cell]
        yield (
            paths.get(mark.cell, ""), file.case["id"], file.case["subject"], mark.cell, mark.reader, mark.label,
            int(mark.seen), mark.at, verdict.label or "", verdict.by, cell["decision"], cell["probability"],
            bundle[cell["run_id"]],
        )  # fmt: skip


def _coco(bench: Workbench, files: list[CaseFile], media: dict[str, str]) -> dict[str, Any]:
    names = list(files[0].lanes)
    with bench.database.read() as connection:
        sizes = {
            row.sha256: (row.width, row.height)
            for row in connection.execute(select(PictureRow.sha256, PictureRow.width, PictureRow.height))
        }
        boxes: dict[str, list[int]] = {}
        for file in files:
            query = select(CellRow.id, CellRow.x, CellRow.y, CellRow.w, CellRow.h)
            for row in connection.execute(query.where(CellRow.case_id == file.case["id"], CellRow.x.is_not(None))):
                boxes[row.id] = [row.x, row.y, row.w, row.h]
    images = {
        cell["picture"]: number
        for number, cell in enumerate({cell["picture"]: cell for file in files for cell in file.cells}.values(), 1)
    }
    found: list[dict[str, Any]] = []
    for file in files:
        for cell in file.cells:
            label, sha256 = file.found[cell["id"]].label, cell["picture"]
            if label is None:
                continue
            box = boxes.get(cell["id"], [0, 0, *sizes[sha256]])
            found.append(
                {
                    "id": len(found) + 1, "image_id": images[sha256], "category_id": names.index(label) + 1,
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                    "attributes": {"by": file.found[cell["id"]].by, "model": cell["decision"]},
                }
            )  # fmt: skip
    return {
        "info": {"description": "cells read at a Leukoscope workbench; research use only"},
        "images": [
            {
                "id": number, "file_name": f"{sha256}.{_SUFFIX.get(media[sha256], 'bin')}", "width": sizes[sha256][0],
                "height": sizes[sha256][1],
            }
            for sha256, number in images.items()
        ],
        "annotations": found,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }  # fmt: skip


def export_file(bench: Workbench, export_id: str, name: str) -> Path:
    """One of the tables of an export.

    Raises:
        Problem: there is none.
    """
    path = bench.settings.exports / export_id / name
    if name not in FILES or not path.is_file():
        raise Problem(404, "there is no such export, or it is not ready")
    return path
