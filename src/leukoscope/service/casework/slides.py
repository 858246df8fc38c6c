"""Whole slides in cases: what `leukoscope slide` found becomes cells; the slide's file stays where it is.

Both lie in the one folder that the server was told with `--slides`. Nothing outside of it is opened, whatever a results
folder says. Cells come in some at a time, so that no reader waits for a slide; a server that was killed goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from leukoscope._version import __version__
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import LeukoscopeError
from leukoscope.files import write_bytes
from leukoscope.service import answers
from leukoscope.service.casework.bundles import active_bundle
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.jobs import PLACES, Job
from leukoscope.service.database.chain import canonical
from leukoscope.service.database.tables import CasePictureRow, CellRow, JobRow, PictureRow, RunRow, SlideRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import SYSTEM, Workbench
from leukoscope.slides.stored import CELLS, FACTS, SETTINGS, THUMBNAIL, read_facts, stored_cells

MEDIA: Final = "application/x-slide"
MOST_CELLS: Final = 100_000  # of one slide in a case
_DEPTH: Final = 3  # folders below that of the slides in which results are sought
_MOST: Final = 500  # slides that are listed
_AT_ONCE: Final = 2000  # cells in a transaction
_PART: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class SlideResults:
    """A folder that `leukoscope slide` wrote.

    Attributes:
        folder: of the results.
        name: of the folder below that of the slides, by which it is chosen.
        path: of the slide's file.
        size, changed: of the file, when it was read.
        bundle: digest of what answered.
        facts: `slide.json`.
        settings: `leukoscope-slide.json`.
    """

    folder: Path
    name: str
    path: Path
    size: int
    changed: int
    bundle: str
    facts: dict[str, Any]
    settings: dict[str, Any]

    @property
    def cells(self) -> int:
        """How many."""
        return int(sum(self.facts["decisions"].values()))


def list_slides(bench: Workbench) -> list[dict[str, Any]]:
    """The slides that were read, each with why it cannot become part of a case, None where it can."""
    root = bench.settings.slides
    if root is None:
        return []
    found: list[dict[str, Any]] = []
    patterns = ("/".join(["*"] * depth) + f"/{SETTINGS}" for depth in range(1, _DEPTH + 1))
    for path in sorted({path.parent for pattern in patterns for path in root.glob(pattern)})[:_MOST]:
        name = path.relative_to(root).as_posix()
        try:
            results = read_results(bench, name)
        except Problem as problem:
            found.append({"name": name, "cells": None, "width": None, "height": None, "refused": str(problem)})
        else:
            full = {each: results.facts[each] for each in ("width", "height")}
            found.append({"name": name, "cells": results.cells, **full, "refused": None})
    return found


def read_results(bench: Workbench, name: str) -> SlideResults:
    """The results of a slide, which can become part of a case.

    Raises:
        Problem: there are none of that name, they are not whole, of another bundle than the active one, or of a slide
            that is elsewhere or was changed.
    """
    root = bench.settings.slides
    if root is None:
        raise Problem(404, "this workbench was told no folder of slides", remedy="start it with --slides DIR")
    root = root.resolve()
    folder = (root / name).resolve()
    if not folder.is_relative_to(root) or not (folder / SETTINGS).is_file():
        raise Problem(404, "there are no results of that name in the folder of slides")
    if not (folder / FACTS).is_file():
        raise Problem(409, f"{name} was not read to its end", remedy="give the same `leukoscope slide` command again")
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        facts = read_facts(folder)
        path, (size, changed) = Path(settings["slide"]), settings["file"]
        found = SlideResults(folder, name, path, int(size), int(changed), facts["bundle"], facts, settings)
        known = found.cells, facts["width"], facts["height"], facts["map"]["ruler"]["um_per_px"] > 0
    except (LeukoscopeError, OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(422, f"the results {name} are damaged", remedy="read the slide again") from error
    if not path.resolve().is_relative_to(root):
        raise Problem(409, f"the slide of {name} does not lie in the folder of slides", remedy="move it there first")
    check_file(path, found.size, found.changed)
    if found.bundle != active_bundle(bench)["digest"]:
        raise Problem(
            409, f"{name} was read with another bundle than the active one", remedy="read the slide with it (--bundle)"
        )
    if known[0] > MOST_CELLS:
        raise Problem(
            409, f"{name} has {known[0]:,} cells, more than the {MOST_CELLS:,} of a picture",
            remedy="look through its report.html, or its cells.geojson in QuPath",
        )  # fmt: skip
    return found


def check_file(path: Path, size: int, changed: int) -> None:
    """Hold a slide's file against what is known of it.

    Raises:
        Problem: it is not there, or was changed.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise Problem(409, "the slide is not where it was", remedy=f"put {path.name} back") from error
    if (status.st_size, status.st_mtime_ns) != (size, changed):
        raise Problem(409, "the slide was changed since it was read", remedy="read it again")


def add_slide(bench: Workbench, person: Person, case_id: str, name: str) -> str:
    """Let a slide become part of a case: work of the kind `slide`; its identifier.

    Raises:
        Problem: see `read_results`; the case is signed.
    """
    results = read_results(bench, name)
    made = new_id()
    with bench.database.write() as connection:
        _check_open(connection, case_id)
        connection.execute(
            insert(JobRow).values(
                id=made, kind="slide", case_id=case_id, subject=results.folder.name[:64], state="waiting", attempts=0,
                body=canonical({"name": name}), created=utc_now(), by=person.id,
            )
        )  # fmt: skip
    return made


def take_slide(bench: Workbench, job: Job) -> dict[str, Any]:
    """Take the cells of a slide into its case: work of the kind `slide`. Twice done is done once."""
    assert job.case_id is not None
    results = read_results(bench, str(job.body["name"]))
    bundle = active_bundle(bench)
    bench.say(job.id, "the slide is read for its SHA-256")
    with results.path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(_PART):
            digest.update(part)
    sha256 = digest.hexdigest()
    threshold = read_bundle(bundle["path"]).facts.decision.threshold
    with bench.database.write() as connection:
        _check_open(connection, job.case_id)
        of_case = (CasePictureRow.case_id == job.case_id) & (CasePictureRow.picture == sha256)
        number = connection.scalar(select(CasePictureRow.number).where(of_case))
        mine = select(RunRow.id).where(RunRow.case_id == job.case_id, RunRow.picture == sha256)
        run = connection.scalar(mine)
        new = number is None
        if number is None or run is None:
            number, run = _entered(connection, bench, job, results, sha256, bundle["id"])
        before = connection.scalar(select(func.coalesce(func.max(CellRow.number), 0)).where(CellRow.run_id == run)) or 0
    if new:
        write_bytes(bench.drawn(run, THUMBNAIL), (results.folder / THUMBNAIL).read_bytes())
    rows = (row for row in _rows(results, job, run, number, sha256, threshold) if row["number"] > before)
    count = before
    while some := list(islice(rows, _AT_ONCE)):
        with bench.database.write() as connection:
            _check_open(connection, job.case_id)
            connection.execute(insert(CellRow), some)
            count += len(some)
            if count == results.cells:
                _ended(connection, bench, job.case_id, run, sha256, bundle["id"], count)
        bench.say(job.id, "cells", count, results.cells)
    if count != results.cells:
        raise Problem(422, f"{CELLS} holds {count} of {results.cells} cells", remedy="read the slide again")
    if new and not count:
        with bench.database.write() as connection:
            _ended(connection, bench, job.case_id, run, sha256, bundle["id"], 0)
    return {"picture": sha256, "cells": count}


def _check_open(connection: Connection, case_id: str) -> None:
    if case_row(connection, case_id)["state"] != "open":
        raise Problem(409, "the case is not open", remedy="amend it with a reason first")


def _entered(
    connection: Connection, bench: Workbench, job: Job, results: SlideResults, sha256: str, bundle: str
) -> tuple[int, str]:
    """Enter picture, run and slide; the number in the case, and the run."""
    facts, now, run = results.facts, utc_now(), new_id()
    erased = connection.execute(select(PictureRow.erased_at).where(PictureRow.sha256 == sha256)).first()
    if erased is None:
        size = {"bytes": 0, "width": facts["width"], "height": facts["height"]}  # no byte of it is kept here
        connection.execute(insert(PictureRow).values(sha256=sha256, media=MEDIA, created=now, **size))
    elif erased.erased_at is not None:
        raise Problem(409, "the slide is of a subject who was erased")
    last = select(func.coalesce(func.max(CasePictureRow.number), 0)).where(CasePictureRow.case_id == job.case_id)
    number = int(connection.scalar(last) or 0) + 1
    connection.execute(
        insert(CasePictureRow).values(
            case_id=job.case_id, picture=sha256, name=results.path.name[:300], number=number, source="slide",
            added_by=job.by, added=now,
        )
    )  # fmt: skip
    told = [f"{count} windows: {words}" for words, count in (*facts["faults"].items(), *facts["warnings"].items())]
    scale = facts["map"]["ruler"]["um_per_px"]
    connection.execute(
        insert(RunRow).values(
            id=run, case_id=job.case_id, picture=sha256, bundle_id=bundle, software=__version__, kind="slide",
            um_per_px=scale, warnings=json.dumps([*facts["map"]["ruler"].get("warnings", ()), *told]), error=None,
            finished=now,
        )
    )  # fmt: skip
    about = {
        "um_per_px": scale, "red_cell_um": results.settings["red_cell_um"], "stain": results.settings["stain"],
        "windows": [[*window["box"], window["zone"]] for window in facts["map"]["windows"]],
    }  # fmt: skip
    connection.execute(
        insert(SlideRow).values(
            run_id=run, path=str(results.path), size=results.size, changed=results.changed, about=canonical(about)
        )
    )
    bench.chain.append(connection, job.by, "picture.added", job.case_id or "", {"picture": sha256, "number": number})
    return number, run


def _ended(
    connection: Connection, bench: Workbench, case_id: str, run: str, sha256: str, bundle: str, count: int
) -> None:
    body = {"run": run, "picture": sha256, "bundle": bundle, "cells": count}
    bench.chain.append(connection, SYSTEM, "run.finished", case_id, body)


def _rows(
    results: SlideResults, job: Job, run: str, number: int, sha256: str, threshold: float
) -> Iterator[dict[str, Any]]:
    try:
        for cell in stored_cells(results.folder, results.facts):
            x, y, w, h = (int(side) for side in cell["box"])
            p, gate = cell["probability"], cell["gate"] or "not checked"
            yield {
                "id": new_id(), "run_id": run, "case_id": job.case_id, "picture": sha256,
                "number": int(cell["number"]), "place": number * PLACES + int(cell["number"]), "x": x, "y": y,
                "w": w, "h": h, "logit": cell["logit"], "probability": p,
                "doubt": answers.doubt_of(p, gate, threshold), "strength": -1.0 if p is None else p,
                "decision": cell["decision"], "reason": cell["reason"], "gate": gate, "words": None,
                "embedding": None,
            }  # fmt: skip
    except (LeukoscopeError, ValueError, KeyError, TypeError) as error:
        raise Problem(422, f"{CELLS} is damaged", remedy="read the slide again") from error


def ask_again(
    bench: Workbench, run: str, bundle: str, numbers: set[int] | None = None, *, drawn: bool = False
) -> dict[int, tuple[answers.AskedCell, bytes | None]]:
    """Ask a bundle again of cells of a slide, window by window.

    Args:
        bench: whose.
        run: of the slide.
        bundle: folder of the bundle.
        numbers: of the cells; None: all.
        drawn: draw all cells of the windows that are read, as those of fields are drawn.

    Returns:
        What the bundle says and the frame as a PNG file, by number; cells that were not found again are left out.

    Raises:
        Problem: the slide is not where it was, or was changed.
    """
    with bench.database.read() as connection:
        slide = connection.execute(select(SlideRow).where(SlideRow.run_id == run)).mappings().first()
        boxes = select(CellRow.number, CellRow.x, CellRow.y, CellRow.w, CellRow.h).where(CellRow.run_id == run)
        cells = [(row.number, (row.x, row.y, row.w, row.h)) for row in connection.execute(boxes)]
    if slide is None:
        raise Problem(404, "the slide is forgotten")
    check_file(Path(slide["path"]), slide["size"], slide["changed"])
    about = json.loads(slide["about"])
    there: dict[tuple[int, int, int, int], list[tuple[int, Any]]] = defaultdict(list)
    windows = [tuple(window[:4]) for window in about["windows"] if window[4] == "monolayer"]
    for number, box in cells:
        middle = box[0] + box[2] / 2, box[1] + box[3] / 2
        for x, y, w, h in windows:
            if x <= middle[0] < x + w and y <= middle[1] < y + h:
                there[x, y, w, h].append((number, box))
                break
    found: dict[int, tuple[answers.AskedCell, bytes | None]] = {}
    place = (str(bench.settings.derived), f"{run[-2:]}/{run}") if drawn else None
    for window, within in there.items():
        if numbers is None or any(number in numbers for number, _ in within):
            asked = answers.SlideWindow(slide["path"], window, about["um_per_px"], about["red_cell_um"], about["stain"])
            found |= bench.asker.call(answers.ask_window, bundle, asked, within, place)
    return found
