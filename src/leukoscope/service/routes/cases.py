"""Cases and their pictures."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import Field
from sqlalchemy import select

from leukoscope.service.casework.cases import case_row, change_case, erase_subject, get_case, list_cases, make_case
from leukoscope.service.casework.intake import TAKEN, take_picture
from leukoscope.service.casework.maps import picture_map, picture_tile
from leukoscope.service.casework.slides import MEDIA, add_slide, list_slides
from leukoscope.service.database.tables import CasePictureRow, PictureRow, RunRow
from leukoscope.service.problems import Problem
from leukoscope.service.routes.needs import (
    Bench,
    Body,
    Identifier,
    Line,
    Manager,
    Preparer,
    TheWorker,
    Viewer,
)

router = APIRouter(tags=["cases"])
State = Literal["open", "complete", "signed"]
Scale = Annotated[float, Field(gt=0.005, lt=5)]
Place = Annotated[int, PathParameter(ge=0, le=1 << 30)]


class NewCase(Body):
    """A case to be made; with an identifier of the sender's own, sending it twice makes one."""

    id: Identifier | None = None
    order_no: Line
    subject: Line
    readers: Literal[1, 2] = 1
    blind: bool = False
    target: Annotated[int, Field(ge=1, le=100_000)] = 100
    um_per_px: Scale | None = None


class CaseChange(Body):
    """What is to be changed of a case."""

    order_no: Line | None = None
    subject: Line | None = None
    readers: Literal[1, 2] | None = None
    blind: bool | None = None
    target: Annotated[int, Field(ge=1, le=100_000)] | None = None


class NewSlide(Body):
    """The name of a slide's results, as `/slides` tells it."""

    name: Annotated[str, Field(min_length=1, max_length=400)]


class FixedSet(Body):
    """Whether a signed case belongs to the fixed set on which new bundles are measured."""

    fixed_set: bool


class Erasure(Body):
    """The pseudonym of a subject who is to be erased."""

    subject: Line


@router.get("/cases")
def cases(
    bench: Bench, person: Viewer, state: State | None = None, q: Annotated[str, Query(max_length=100)] = "",
    after: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 200,
) -> dict[str, Any]:  # fmt: skip
    """Cases, the newest first."""
    return {"cases": list_cases(bench, state=state, wanted=q, after=after, limit=limit)}


@router.post("/cases", status_code=201)
def new_case(given: NewCase, bench: Bench, person: Preparer) -> dict[str, Any]:
    """Make a case."""
    return make_case(
        bench, person, case_id=given.id, order_no=given.order_no, subject=given.subject, readers=given.readers,
        blind=given.blind, target=given.target, um_per_px=given.um_per_px,
    )  # fmt: skip


@router.get("/cases/{case_id}")
def one_case(case_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """One case with its counts."""
    return get_case(bench, case_id)


@router.patch("/cases/{case_id}")
def change(case_id: Identifier, given: CaseChange, bench: Bench, person: Preparer) -> dict[str, Any]:
    """Change a case that is not signed."""
    return change_case(bench, person, case_id, given.model_dump(exclude_none=True))


@router.post("/cases/{case_id}/fixed-set")
def fixed_set(case_id: Identifier, given: FixedSet, bench: Bench, person: Manager) -> dict[str, Any]:
    """Take a signed case into the fixed set, or out of it."""
    return change_case(bench, person, case_id, {"fixed_set": given.fixed_set})


@router.post("/erasures")
def erase(given: Erasure, bench: Bench, person: Manager) -> dict[str, Any]:
    """Erase a subject."""
    return erase_subject(bench, person, given.subject)


@router.put(
    "/cases/{case_id}/pictures/{sha256}", status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {kind: {} for kind in sorted(TAKEN)}}},
    responses={200: {"description": "The case has it already"}},
)  # fmt: skip
async def put_picture(
    case_id: Identifier, sha256: str, request: Request, response: Response, bench: Bench, person: Preparer,
    worker: TheWorker, name: Annotated[str, Query(max_length=300)] = "",
) -> dict[str, Any]:  # fmt: skip
    """Give a picture as the raw body; 201 when this returns it is stored, 200 the case has it already."""
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind not in TAKEN:
        raise Problem(415, f"{kind[:40]} is not taken", remedy="send BMP, PNG, JPEG, TIFF or WebP")
    told = request.headers.get("content-length")
    if told is None:
        raise Problem(411, "the request does not say how long it is", remedy="send Content-Length")
    if not told.isdigit():
        raise Problem(400, "Content-Length is no number")
    shown = "".join(c for c in unquote(name) if c.isprintable()) or sha256[:12]
    new, found = await take_picture(bench, person, case_id, sha256, shown, int(told), request.stream)
    response.status_code = 201 if new else 200
    worker.wake()
    return found


@router.get("/cases/{case_id}/pictures")
def pictures(case_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """The pictures of a case with what could not be answered."""
    query = (
        select(
            CasePictureRow.picture.label("sha256"), CasePictureRow.name, CasePictureRow.number, PictureRow.width,
            PictureRow.height, PictureRow.media, PictureRow.erased_at, RunRow.id.label("run"), RunRow.kind,
            RunRow.error, RunRow.um_per_px,
        )
        .join(PictureRow, PictureRow.sha256 == CasePictureRow.picture)
        .outerjoin(RunRow, (RunRow.case_id == CasePictureRow.case_id) & (RunRow.picture == CasePictureRow.picture))
        .where(CasePictureRow.case_id == case_id)
        .order_by(CasePictureRow.number)
    )  # fmt: skip
    with bench.database.read() as connection:
        case_row(connection, case_id)
        return {"pictures": [dict(row) for row in connection.execute(query).mappings()]}


@router.get("/cases/{case_id}/pictures/{sha256}/map")
def map_of_picture(case_id: Identifier, sha256: str, bench: Bench, person: Viewer) -> dict[str, Any]:
    """Size, scale and zooms of a picture, and of a slide what lies in each window."""
    return picture_map(bench, case_id, sha256)


@router.get("/cases/{case_id}/pictures/{sha256}/tiles/{z}/{x}/{y}", response_class=Response)
def tile(case_id: Identifier, sha256: str, z: Place, x: Place, y: Place, bench: Bench, person: Viewer) -> Response:
    """A tile as JPEG: zoom 0 shows the whole picture in one, each further zoom is twice as large."""
    content = picture_tile(bench, case_id, sha256, z, x, y)
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/slides")
def slides(bench: Bench, person: Preparer) -> dict[str, Any]:
    """Slides that were read on this machine and can become part of a case."""
    return {"slides": list_slides(bench)}


@router.post("/cases/{case_id}/slides", status_code=202)
def new_slide(
    case_id: Identifier, given: NewSlide, request: Request, bench: Bench, person: Preparer
) -> dict[str, Any]:  # fmt: skip
    """Let a slide become part of a case; the work is followed under `/jobs`."""
    job = add_slide(bench, person, case_id, given.name)
    request.app.state.slow.wake()
    return {"job": job}


@router.get("/cases/{case_id}/pictures/{sha256}/original", response_class=FileResponse)
def original(case_id: Identifier, sha256: str, bench: Bench, person: Viewer) -> FileResponse:
    """The bytes of a picture as they came, to be saved and not shown."""
    query = select(PictureRow.media, CasePictureRow.name).join(
        CasePictureRow, CasePictureRow.picture == PictureRow.sha256
    )
    with bench.database.read() as connection:
        row = connection.execute(
            query.where(CasePictureRow.case_id == case_id, PictureRow.sha256 == sha256, PictureRow.erased_at.is_(None))
        ).first()
    if row is None:
        raise Problem(404, "there is no such picture")
    if row.media == MEDIA:
        raise Problem(409, "a slide stays where it is", remedy="take it from the folder of slides")
    return FileResponse(bench.store.path(sha256), media_type=row.media, filename=f"{sha256[:16]}")
