"""What the viewer shows of a picture: its size, scale and map, and its tiles. Nothing of what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, select

from leukoscope.child import ChildEndedError
from leukoscope.errors import PictureError
from leukoscope.files import write_bytes
from leukoscope.service import answers
from leukoscope.service.casework.slides import check_file
from leukoscope.service.database.tables import CasePictureRow, CellRow, PictureRow, RunRow, SlideRow
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench
from leukoscope.slides.stored import THUMBNAIL


def picture_map(bench: Workbench, case_id: str, sha256: str) -> dict[str, Any]:
    """Size, scale and zooms of a picture; of a slide its windows, each with what lies there.

    Raises:
        Problem: there is none.
    """
    row = _row(bench, case_id, sha256)
    windows = [] if row["about"] is None else json.loads(row["about"])["windows"]
    return {
        "width": row["width"], "height": row["height"], "um_per_px": row["um_per_px"], "tile": answers.TILE,
        "zooms": answers.zooms(row["width"], row["height"]), "windows": windows,
    }  # fmt: skip


def picture_tile(bench: Workbench, case_id: str, sha256: str, z: int, x: int, y: int) -> bytes:
    """A tile as JPEG.

    Raises:
        Problem: there is none, or that part of the picture is damaged.
    """
    row = _row(bench, case_id, sha256)
    last = answers.zooms(row["width"], row["height"]) - 1
    side = answers.TILE * 2 ** (last - z) if 0 <= z <= last else 0
    if not side or x * side >= row["width"] or y * side >= row["height"]:
        raise Problem(404, "there is no such tile")
    return _called(bench, answers.tile, _shown(bench, row), z, x, y, bench.settings.limits.picture_pixels)


def small_of_slide(bench: Workbench, run: str, number: int) -> Path:
    """The file of a cell of a slide, small; drawn when it is first asked for.

    Raises:
        Problem: the slide is not where it was, or damaged there.
    """
    path = bench.drawn(run, f"{number}-small.jpg")
    if not path.is_file():
        query = (
            select(CellRow.x, CellRow.y, CellRow.w, CellRow.h, SlideRow.path, SlideRow.size, SlideRow.changed)
            .join(SlideRow, SlideRow.run_id == CellRow.run_id)
            .where(CellRow.run_id == run, CellRow.number == number)
        )
        with bench.database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise Problem(404, "there is no such drawing")
        check_file(Path(row["path"]), row["size"], row["changed"])
        box = (row["x"], row["y"], row["w"], row["h"])
        write_bytes(path, _called(bench, answers.cell_of_slide, answers.Shown(row["path"], slide=True), box))
    return path


def _called(bench: Workbench, act: Any, *given: Any) -> bytes:
    try:
        return bytes(bench.viewer.call(act, *given))
    except ChildEndedError as error:
        raise Problem(422, f"cannot be shown: {error.what}", remedy="look at another part") from error
    except PictureError as error:
        raise Problem(422, error.what, remedy=error.remedy) from error


def _shown(bench: Workbench, row: RowMapping) -> answers.Shown:
    """Where a picture lies.

    Raises:
        Problem: its file is not there, or is not that which was read.
    """
    if row["path"] is None:
        path = bench.store.path(row["sha256"])
        if not path.is_file():
            raise Problem(404, "the picture is not kept here")
        return answers.Shown(str(path))
    check_file(Path(row["path"]), row["size"], row["changed"])
    thumbnail = bench.drawn(row["run"], THUMBNAIL)
    return answers.Shown(row["path"], slide=True, thumbnail=str(thumbnail) if thumbnail.is_file() else None)


def _row(bench: Workbench, case_id: str, sha256: str) -> RowMapping:
    query = (
        select(
            PictureRow.sha256, PictureRow.width, PictureRow.height, PictureRow.erased_at, RunRow.id.label("run"),
            RunRow.um_per_px, SlideRow.path, SlideRow.size, SlideRow.changed, SlideRow.about,
        )
        .join(CasePictureRow, CasePictureRow.picture == PictureRow.sha256)
        .outerjoin(RunRow, (RunRow.case_id == CasePictureRow.case_id) & (RunRow.picture == CasePictureRow.picture))
        .outerjoin(SlideRow, SlideRow.run_id == RunRow.id)
        .where(CasePictureRow.case_id == case_id, CasePictureRow.picture == sha256)
        .order_by(RunRow.id.desc())
    )  # fmt: skip
    with bench.database.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None or row["erased_at"] is not None:
        raise Problem(404, "there is no such picture")
    return row
