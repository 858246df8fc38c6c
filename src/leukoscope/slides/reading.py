"""The cells of a slide: windows of its monolayer read at the full level, each cell once, resumable row by row.

A window is read with an overlap in which a whole cell has room on either side; a cell belongs to the window that holds
its middle. A row of windows is one file that appears whole: a run that was stopped goes on with the next row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.seal import read_sealed, sealed
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.files import write_bytes
from leukoscope.inference.answer import Answers
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.slides.source import Slide
from leukoscope.slides.survey import Survey, Window
from leukoscope.smears.find import SAME_CELL, SLACK, box_overlap

ROWS: Final = "rows"
LAP_UM: Final = 26.0  # by which windows overlap: half of it on either side holds half of any white cell
_NEAR: Final = 2048  # pixels: no cell is larger
Record = dict[str, Any]


@dataclass(slots=True)
class SlideTally:
    """What came of the windows.

    Attributes:
        decisions: of cells.
        windows: read.
        earlier: of these, read by an earlier run.
        faults: windows that could not be read, by the reason.
        warnings: how many windows have each warning.
        pixels: read at the full level.
        red_cells: measured in all windows.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    earlier: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    red_cells: int = 0


def read_rows_of(
    slide: Slide, survey: Survey, classifier: Classifier, out: Path, options: ReadOptions, *,
    progress: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Answer for the cells of all chosen windows; write a file for each row of windows.

    Args:
        slide: open.
        survey: of it.
        classifier: what answers; as many windows are looked through at a time as it has threads.
        out: folder of the results.
        options: how windows are read; the scale is that of the survey.
        progress: called with windows newly done.

    Returns:
        How many windows an earlier run had done.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    by_row: dict[int, list[Window]] = defaultdict(list)
    for window in survey.chosen:
        by_row[window.row].append(window)
    earlier = 0
    for row, windows in sorted(by_row.items()):
        path = row_path(out, row)
        if _whole(path, windows):
            earlier += len(windows)
            if progress is not None:
                progress(len(windows))
            continue
        found, origins = [], list[tuple[int, int]]()
        answered = classifier.answers(_pictures(slide, survey.um_per_px, windows, origins), options, batch_size=1)
        for number, (window, answers) in enumerate(zip(windows, answered, strict=True)):
            found.append(_record(window, origins[number], answers))
            if progress is not None:
                progress(1)
        write_bytes(path, sealed({"row": row, "windows": found})[0])
    return earlier


def row_path(out: Path, row: int) -> Path:
    """The file of a row of windows."""
    return out / ROWS / f"{row:05d}.json"


def each_cell(out: Path, survey: Survey, tally: SlideTally) -> Iterator[Record]:
    """The cells of all rows from top to bottom, each once, with new numbers; two rows are held at a time.

    Args:
        out: folder of the results.
        survey: of the slide.
        tally: counts what is read.

    Raises:
        LeukoscopeError: a row is missing or damaged.
    """
    number = 0
    before = _Near()
    for row in sorted({window.row for window in survey.chosen}):
        kept, here = list[Record](), _Near()
        for window in read_row(row_path(out, row))["windows"]:
            tally.windows += 1
            tally.pixels += window["pixels"]
            tally.red_cells += window["red_cells"]
            tally.warnings.update(window["warnings"])
            if window["error"] is not None:
                tally.faults[window["error"]] += 1
            for cell in window["cells"]:
                if not (before.holds(cell["box"]) or here.holds(cell["box"])):
                    kept.append(cell)
                    here.add(cell["box"])
        kept.sort(key=lambda cell: (cell["box"][1], cell["box"][0]))
        for cell in kept:
            number += 1
            tally.decisions[cell["decision"]] += 1
            yield cell | {"number": number}
        before = here


class _Near:
    """Boxes of cells, by where they lie."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[int, int], list[list[int]]] = defaultdict(list)

    def add(self, box: list[int]) -> None:
        self._by_place[box[0] // _NEAR, box[1] // _NEAR].append(box)

    def holds(self, box: list[int]) -> bool:
        """Whether one of them is the same cell."""
        x, y = box[0] // _NEAR, box[1] // _NEAR
        around = ((x + across, y + down) for across in (-1, 0, 1) for down in (-1, 0, 1))
        return any(box_overlap(box, other) >= SAME_CELL for place in around for other in self._by_place.get(place, ()))


def read_window(
    slide: Slide, box: tuple[int, int, int, int], um_per_px: float
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A window of the full level with its overlap, uint8 [h, w, 3], and the left and top of what was read.

    Args:
        slide: open.
        box: of the window, x, y, width, height.
        um_per_px: the scale of the full level.

    Raises:
        PictureError: it is damaged.
    """
    full, lap = slide.levels[0], round(LAP_UM / um_per_px / 2)
    left, top, width, height = box
    x, y = max(0, left - lap), max(0, top - lap)
    right, bottom = min(full.width, left + width + lap), min(full.height, top + height + lap)
    return slide.read(0, x, y, right - x, bottom - y), (x, y)


def _pictures(
    slide: Slide, scale: float, windows: list[Window], origins: list[tuple[int, int]]
) -> Iterator[NDArray[np.uint8] | PictureError]:
    """Each window, or why it cannot be read; where each began is put into ``origins``."""
    for window in windows:
        try:
            rgb, origin = read_window(slide, window.box, scale)
        except PictureError as error:
            origins.append(window.box[:2])
            yield error
        else:
            origins.append(origin)
            yield rgb


def _record(window: Window, origin: tuple[int, int], answers: Answers) -> Record:
    """What came of one window, its own cells alone, in pixels of the slide."""
    finding, error = answers.reading.finding, answers.reading.error
    record: Record = {
        "column": window.column, "error": None if error is None else error.what, "warnings": [], "red_cells": 0,
        "pixels": 0, "cells": [],
    }  # fmt: skip
    if finding is None:
        return record
    record |= {
        "warnings": [text for text in finding.warnings if "cut by the edge" not in text],  # that of the window
        "red_cells": len(finding.red_cells),
        "pixels": finding.shape[0] * finding.shape[1],
    }  # fmt: skip
    x, y = origin
    left, top, width, height = window.box
    for cell in answers.to_json()["cells"]:
        box = [cell["box"][0] + x, cell["box"][1] + y, *cell["box"][2:]]
        middle = box[0] + box[2] / 2, box[1] + box[3] / 2
        if not (left - SLACK <= middle[0] < left + width + SLACK and top - SLACK <= middle[1] < top + height + SLACK):
            continue
        rings = [_moved(ring, x, y) for ring in cell["nucleus"]]
        record["cells"].append(cell | {"box": box, "outline": _moved(cell["outline"], x, y), "nucleus": rings})
    return record


def _moved(ring: list[list[float]], x: int, y: int) -> list[list[float]]:
    return [[round(a + x, 2), round(b + y, 2)] for a, b in ring]


def _whole(path: Path, windows: list[Window]) -> bool:
    """Whether all these windows were read; what could not be, for want of memory say, is tried again."""
    try:
        found = read_row(path)["windows"]
    except LeukoscopeError:
        return False
    read = [each["column"] for each in found if each["error"] is None]
    return len(read) == len(found) and read == [window.column for window in windows]


def read_row(path: Path) -> Record:
    """What was written of a row of windows.

    Raises:
        LeukoscopeError: it is missing, or is not what was written.
    """
    try:
        return read_sealed(path)
    except (OSError, ValueError) as error:
        raise LeukoscopeError("is missing or damaged", path=path, remedy="give the same command again") from error


def survey_json(survey: Survey) -> Record:
    """The map as JSON-ready values."""
    return {
        "rows": survey.rows, "columns": survey.columns, "level": survey.level, "ruler": survey.ruler.to_json(),
        "windows": [asdict(window) | {"box": list(window.box)} for window in survey.windows],
    }  # fmt: skip
