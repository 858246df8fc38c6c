"""A folder of results of one slide: settings, map, cells as lines, table and contours, and the page."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.seal import sealed
from leukoscope.errors import PictureError
from leukoscope.files import atomic_path, exclusive, sha256_of, write_bytes, write_text
from leukoscope.inference.answer import HONEST
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.journal import claim, settings_of, stamp
from leukoscope.inference.overlay import COLOURS, THUMB, encode
from leukoscope.inference.words import LANGUAGES
from leukoscope.inference.writers import FIELD_COLUMNS, geojson
from leukoscope.page import render
from leukoscope.progress import SILENT, Progress
from leukoscope.slides.reading import SlideTally, each_cell, read_rows_of, survey_json
from leukoscope.slides.source import Slide, open_slide
from leukoscope.slides.stored import CELLS, CONTOURS, FACTS, PAGE, SETTINGS, TABLE, THUMBNAIL
from leukoscope.slides.survey import WINDOW, ZONES, Survey, scale_of, survey, thumbnail_of
from leukoscope.smears.stain import ground_light
from leukoscope.tables import csv_line
from leukoscope.text import decodable

_SHOWN = 48  # cells in the page
_FEW = 24  # of those that were found, where none was fit to be judged
_DOTS = 4000  # cells on its map


@dataclass(frozen=True, slots=True)
class SlideRead:
    """What a run on a slide gave.

    Attributes:
        survey: the map.
        tally: what came of its windows.
        page: the page's file.
    """

    survey: Survey
    tally: SlideTally
    page: Path


def read_slide(
    path: Path, out: Path, classifier: Classifier, options: ReadOptions, *, window: int = WINDOW,
    progress: Progress = SILENT,
) -> SlideRead:  # fmt: skip
    """Map a slide, answer for the cells of its monolayer, and write the results. A stopped run goes on where it was.

    Args:
        path: the slide, or a folder of its DICOM files.
        out: folder of the results: new, or that of an earlier run with the same settings.
        classifier: what answers.
        options: `um_per_px`, `red_cell_um` and `stain` count.
        window: side of a window, pixels of the full level.
        progress: shows windows.

    Raises:
        PictureError: the slide cannot be read, or its scale is unknown.
        LeukoscopeError: ``out`` holds results of other settings, or cannot be written.
    """
    slide = open_slide(path)
    try:
        with exclusive(out, "writes into"):
            settings = settings_of(classifier.bundle, options) | {
                "slide": str(slide.path.resolve()), "file": stamp(slide.path), "window": window
            }  # fmt: skip
            claim(out, SETTINGS, settings, what="another slide, of other settings")
            thumbnail = thumbnail_of(slide)
            ground = ground_light(thumbnail)
            ruler = scale_of(slide, thumbnail, um_per_px=options.um_per_px, red_cell_um=options.red_cell_um)
            full = slide.levels[0]
            count = -(-full.height // window) * -(-full.width // window)
            with progress.stage("map", count) as advance:
                found = survey(slide, ruler, ground, window=window, progress=advance)
            asked = replace(
                options, um_per_px=ruler.um_per_px, keep=True, max_pixels=max(options.max_pixels, 4 * window**2)
            )
            with progress.stage("windows", len(found.chosen)) as advance:
                earlier = read_rows_of(slide, found, classifier, out, asked, progress=advance)
            return _written(slide, found, thumbnail, classifier, out, earlier)
    finally:
        slide.close()


def _written(
    slide: Slide, found: Survey, thumbnail: NDArray[np.uint8], classifier: Classifier, out: Path, earlier: int
) -> SlideRead:
    tally = SlideTally(earlier=earlier)
    name, scale = decodable(str(slide.path)), found.ruler.um_per_px
    best: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    dots: list[tuple[str, float, float]] = []
    with ExitStack() as stack:
        lines, table, contours = (
            stack.enter_context(stack.enter_context(atomic_path(out / each)).open("w", encoding="utf-8", newline=""))
            for each in (CELLS, TABLE, CONTOURS)
        )
        table.write(csv_line(FIELD_COLUMNS) + "\r\n")
        contours.write('{"type": "FeatureCollection", "features": [')
        for number, cell in enumerate(each_cell(out, found, tally)):
            lines.write(json.dumps(cell) + "\n")
            x, y, width, height = cell["box"]
            place = {"path": name, "x": x, "y": y, "width": width, "height": height, "um_per_px": scale}
            told = cell | place
            table.write(csv_line(told.get(column) for column in FIELD_COLUMNS) + "\r\n")
            features = geojson({"cells": [cell]})["features"]
            contours.write((",\n" if number else "\n") + ",\n".join(json.dumps(each) for each in features))
            dots = _dotted(dots, cell)
            if cell["decision"] == "refer":
                reasons[_why(cell)] += 1
            if len(first) < _FEW:
                first.append(cell)
            if cell["probability"] is not None and cell["gate"] != "turned down":
                best.append(cell)
                if len(best) >= 4 * _SHOWN:
                    best = _strongest(best)
        contours.write("]}\n")
    facts = {
        "path": name, "statement": HONEST, "model": classifier.bundle.facts.name, "bundle": classifier.bundle.digest,
        "width": slide.levels[0].width, "height": slide.levels[0].height, "decisions": dict(tally.decisions),
        "windows": {zone or "unread": found.count(zone) for zone in (*ZONES, None)},
        "faults": dict(tally.faults), "warnings": dict(tally.warnings), "pixels": tally.pixels,
        "red_cells": tally.red_cells, "map": survey_json(found), "cells_sha256": sha256_of(out / CELLS),
    }  # fmt: skip
    write_bytes(out / FACTS, sealed(facts)[0])
    write_bytes(out / THUMBNAIL, encode(thumbnail, Path("a.jpg")))
    cards = [(cell, _uri(_crop(slide, cell))) for cell in _strongest(best) or first]
    page = render(
        "slides/report.html.j2", facts=facts, survey=found, tally=tally, cards=cards, judged=bool(best), dots=dots,
        reasons=reasons, name=decodable(slide.path.name), bar=_bar(thumbnail.shape[1], slide, found), honest=HONEST,
        thumbnail=_uri(thumbnail), size=thumbnail.shape, zoom=thumbnail.shape[1] / slide.levels[0].width,
        colours={decision: "#" + bytes(colour).hex() for decision, colour in COLOURS.items()},
        levels=slide.levels, stated=slide.stated,
    )  # fmt: skip
    write_text(out / PAGE, page)
    return SlideRead(found, tally, out / PAGE)


def _why(cell: dict[str, Any]) -> str:
    """The first reason for which a cell is referred, without its figures."""
    told = re.sub(r" \([^)]*\)", "", cell["reason"] or "in the band between blast and normal")
    return told.removeprefix(LANGUAGES["en"]["turned down"].format(reasons="")).partition(", ")[0]


def _bar(width: int, slide: Slide, found: Survey) -> tuple[float, str]:
    """A round length of at most a fifth of the map: its pixels, and words."""
    um = found.um_per_px * slide.levels[0].width / width
    decade = 10 ** math.floor(math.log10(width * um / 5))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= width * um / 5)
    return length / um, f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"


def _strongest(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(cells, key=lambda cell: (-cell["logit"], cell["number"]))[:_SHOWN]


def _dotted(dots: list[tuple[str, float, float]], cell: dict[str, Any]) -> list[tuple[str, float, float]]:
    """One more dot for the map; where there are too many, every second one of those that are no blasts goes."""
    x, y, width, height = cell["box"]
    dots.append((cell["decision"], x + width / 2, y + height / 2))
    if len(dots) <= _DOTS:
        return dots
    kept = [dot for number, dot in enumerate(dots) if dot[0] == "blast" or number % 2]
    return kept if len(kept) <= _DOTS else dots[::2]


def _crop(slide: Slide, cell: dict[str, Any]) -> NDArray[np.uint8]:
    x, y, width, height = cell["box"]
    side = max(8, round(1.35 * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    try:
        part = slide.read(0, left, top, side, side)
    except PictureError:
        part = np.full((side, side, 3), 128, np.uint8)
    return np.asarray(cv2.resize(part, (THUMB, THUMB), interpolation=cv2.INTER_AREA), np.uint8)


def _uri(rgb: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode(rgb, Path("a.jpg"))).decode("ascii")
