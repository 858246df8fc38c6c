"""Fields as files that others read: CSV, COCO, GeoJSON for QuPath; from the fields' JSON, one at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from leukoscope.files import atomic_path, write_text
from leukoscope.inference.field_pictures import COLOURS

Record = dict[str, Any]
Source = Callable[[], Iterable[Record]]
COLUMNS = (
    "path", "number", "state", "decision", "probability", "logit", "reason", "x", "y", "width", "height",
    "diameter_um", "nucleus_area_um2", "nucleus_share", "um_per_px",
)  # fmt: skip
CATEGORIES = ("blast", "normal", "refer")


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """One row for each white cell."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for record in records:
            for cell in record["cells"]:
                x, y, width, height = cell["box"]
                place = {"path": record["path"], "x": x, "y": y, "width": width, "height": height}
                writer.writerow(cell | place | {"um_per_px": record["ruler"]["um_per_px"]})


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
