"""Answers, statements and fields as text: aligned tables, CSV, JSON lines, COCO, GeoJSON for QuPath."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from leukoscope.bundle.patients import telling
from leukoscope.files import atomic_path, write_text
from leukoscope.inference.answer import Answer
from leukoscope.inference.overlay import COLOURS
from leukoscope.inference.patients import PatientStatement, interval
from leukoscope.tables import csv_line, json_line
from leukoscope.text import printable

RowFormat = Literal["table", "csv", "jsonl"]
SUFFIX: dict[RowFormat, str] = {"table": "txt", "csv": "csv", "jsonl": "jsonl"}
CELL_COLUMNS = (
    "path", "sha256", "probability", "logit", "decision", "model", "ms", "error", "reason", "gate", "cell", "x", "y",
    "width", "height", "um_per_px", "bundle", "threshold", "software",
)  # fmt: skip


def header(kind: RowFormat, *, ordered: bool = False) -> str | None:
    """First line of the output, if it has one; ``ordered``: of rows that state their place, see `row`.

    >>> header("csv").split(",")[:5]
    ['path', 'sha256', 'probability', 'logit', 'decision']
    """
    if kind == "table":
        first = f"{'order':>6}  " if ordered else ""
        return f"{first}{'probability':>11}  {'logit':>7}  {'decision':<10}  picture"
    return ",".join((*CELL_COLUMNS, "order") if ordered else CELL_COLUMNS) if kind == "csv" else None


def row(
    kind: RowFormat,
    answer: Answer,
    place: int | None = None,
    *,
    ordered: bool = False,
    made: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """One line for one prediction; only CSV may hold line breaks, quoted, where a file's name does.

    ``made`` is what each row says of how it came about, see `leukoscope.inference.schemas.row_facts`.

    With ``ordered`` it also states the cell's ``place`` among those of the batch (`leukoscope.inference.order`), as
    ``order``: None where the network was not asked.

    >>> answer = Answer("a.png", None, 0.98, 3.9, "blast", "m", 1.0)
    >>> row("table", answer)
    '      0.980    +3.90  blast       a.png'
    """
    if kind == "table":
        return (f"{'-' if place is None else place:>6}  " if ordered else "") + _cell_row(answer)
    values = answer.to_json() | dict(made) | ({"order": place} if ordered else {})
    if kind == "jsonl":
        return json_line(values)
    told = flat(values)
    return csv_line(told.get(name) for name in ((*CELL_COLUMNS, "order") if ordered else CELL_COLUMNS))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON as columns of a table: the box of a cell that was found apart, None where it was not.

    >>> flat({"place": {"box": [1, 2, 3, 4], "um_per_px": 0.1}})["width"]
    3
    """
    where = values["place"] or {}
    box = where.get("box", (None,) * 4)
    return (
        dict(values)
        | dict(zip(("x", "y", "width", "height"), box, strict=True))
        | {"um_per_px": where.get("um_per_px")}
    )


def _cell_row(answer: Answer) -> str:
    name = printable(answer.name)
    if answer.probability is None or answer.logit is None:
        told = printable(answer.error or answer.reason or "no reason")
        return f"{'-':>11}  {'-':>7}  {answer.decision:<10}  {name}  ({told})"
    why = f"  ({printable(answer.reason)})" if answer.reason else ""
    stated = f"{answer.probability:.3f}"
    if answer.gate == "turned down":  # in brackets: what the network says of a picture that it should not judge
        stated = f"({stated})"
    return f"{stated:>11}  {answer.logit:+7.2f}  {answer.decision:<10}  {name}{why}"


Record = dict[str, Any]
Source = Callable[[], Iterable[Record]]
FIELD_COLUMNS = (
    "path", "number", "state", "decision", "probability", "logit", "reason", "x", "y", "width", "height",
    "diameter_um", "nucleus_area_um2", "nucleus_share", "um_per_px", "order",
)  # fmt: skip
CATEGORIES = ("blast", "normal", "refer")


def write_csv(path: Path, records: Iterable[Record], order: Sequence[int | None]) -> None:
    """One row for each white cell, with its place in the order in which to look at them."""
    place = iter(order)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(FIELD_COLUMNS) + "\r\n")
        for record in records:
            for cell in record["cells"]:
                x, y, width, height = cell["box"]
                where = {"path": record["path"], "x": x, "y": y, "width": width, "height": height}
                told = cell | where | {"um_per_px": record["ruler"]["um_per_px"], "order": next(place)}
                file.write(csv_line(told.get(name) for name in FIELD_COLUMNS) + "\r\n")


def write_coco(path: Path, records: Source) -> None:
    """All fields in COCO's format for instances: categories 1 blast, 2 normal, 3 refer; contours as polygons.

    Args:
        path: the file.
        records: gives the fields anew at each call: they are read twice and never held together.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        categories = [{"id": i, "name": name, "supercategory": "white cell"} for i, name in enumerate(CATEGORIES, 1)]
        file.write(f'{{"info": {{"description": "Leukoscope"}}, "categories": {json.dumps(categories)}, "images": [')
        _write_all(file.write, _coco_images(records()))
        file.write('], "annotations": [')
        _write_all(file.write, _coco_cells(records()))
        file.write("]}\n")


def geojson(record: Record) -> dict[str, Any]:
    """One field's cells as a GeoJSON feature collection, as QuPath imports it; y runs downwards, unit pixel."""
    features = []
    for cell in record["cells"]:
        colour = list(COLOURS[cell["decision"]])
        shapes = [
            ("annotation", cell["outline"], "cell"),
            *(("annotation", ring, "nucleus") for ring in cell["nucleus"]),
        ]
        for kind, ring, part in shapes:
            name = f"{cell['number']} {cell['decision']}" if part == "cell" else f"{cell['number']} nucleus"
            properties: dict[str, Any] = {
                "objectType": kind,
                "name": name,
                "classification": {"name": cell["decision"] if part == "cell" else "nucleus", "color": colour},
            }
            if part == "cell" and cell["probability"] is not None:
                properties["measurements"] = {"probability of blast": cell["probability"]}
            shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
            features.append({"type": "Feature", "geometry": shape, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def write_geojson(path: Path, record: Record) -> None:
    """One field's cells for QuPath."""
    write_text(path, json.dumps(geojson(record), ensure_ascii=False) + "\n")


def _write_all(write: Callable[[str], object], items: Iterator[Record]) -> None:
    for number, item in enumerate(items):
        write((",\n" if number else "\n") + json.dumps(item, ensure_ascii=False))


def _coco_images(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        yield {"id": number, "file_name": record["path"], "width": record["width"], "height": record["height"]}


def _coco_cells(records: Iterable[Record]) -> Iterator[Record]:
    count = 0
    for image, record in enumerate(records, 1):
        for cell in record["cells"]:
            count += 1
            yield {
                "id": count,
                "image_id": image,
                "category_id": CATEGORIES.index(cell["decision"]) + 1,
                "bbox": cell["box"],
                "area": round(_area(cell["outline"]), 1),
                "iscrowd": 0,
                "segmentation": [[value for point in cell["outline"] for value in point]],
                "attributes": {"state": cell["state"], "probability": cell["probability"]},
            }


def _area(ring: list[list[float]]) -> float:
    """The polygon's area (the surveyor's formula)."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*ring, ring[0]]))) / 2


PATIENT_COLUMNS = (
    "patient", "share", "share_low", "share_high", "share_interval", "fields", "statement", "reason", "pictures",
    "cells", "answered", "blast", "normal", "referred", "turned_down", "unreadable", "repeated", "corrected",
    "corrected_low", "corrected_high", "strongest", "warnings",
)  # fmt: skip
_WIDTHS = (18, 16, 8, 8, 18)


def patient_lines(kind: RowFormat, statements: Sequence[PatientStatement]) -> Iterator[str]:
    """The lines of all statements, with a header where the kind has one.

    >>> list(patient_lines("table", []))
    ['called blast        statement           judged        of  corrected           patient']
    """
    if kind == "jsonl":
        for each in statements:
            yield json_line(each.to_json())
    elif kind == "csv":
        yield ",".join(PATIENT_COLUMNS)
        yield from map(_csv_row, statements)
    else:
        yield _aligned("called blast", "statement", "judged", "of", "corrected", "patient")
        yield from map(_patient_row, statements)


def _patient_row(each: PatientStatement) -> str:
    called = "-" if each.share is None else interval(each.share)
    corrected = interval(each.corrected) if each.corrected is not None and telling(each.corrected) else "-"
    name = f"{printable(each.patient)}  ({printable(each.reason)})"
    return _aligned(called, each.statement, str(each.answered), str(each.cells), corrected, name)


def _aligned(*words: str) -> str:
    share, statement, judged, found, corrected, name = words
    one, two, three, four, five = _WIDTHS
    return f"{share:<{one}}  {statement:<{two}}  {judged:>{three}}  {found:>{four}}  {corrected:<{five}}  {name}"


def _csv_row(each: PatientStatement) -> str:
    value = each.to_json()
    for name in ("share", "corrected"):
        ends = value.pop(name) or {}
        value |= {name: ends.get("value"), f"{name}_low": ends.get("low"), f"{name}_high": ends.get("high")}
        if name == "share":
            value |= {"fields": ends.get("fields"), "share_interval": ends.get("interval")}
    value["strongest"] = json.dumps([cell["path"] for cell in value["strongest"]], ensure_ascii=False)
    value["warnings"] = "; ".join(value["warnings"])
    return csv_line(value[name] for name in PATIENT_COLUMNS)
