"""Cells and readings: what the review page lives on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, StringConstraints

from leukoscope.datasets.readers.review import Review
from leukoscope.service.casework.lanes import MOST, change_lanes, known_lanes, lanes_version
from leukoscope.service.casework.orders import MOST_ROWS, list_cells
from leukoscope.service.casework.review import (
    MOST_READINGS,
    NewReading,
    add_readings,
    adjudicate,
    cell_words,
    complete,
    differing,
    drawing,
    get_cell,
    my_readings,
    neighbours,
    withdraw,
)
from leukoscope.service.casework.sessions import Labelled, take_labels
from leukoscope.service.casework.summary import summarise
from leukoscope.service.labels import COMMAND_KEYS, Label
from leukoscope.service.routes.needs import Bench, Body, Identifier, Line, Manager, Number, Reader, Viewer, Words

router = APIRouter(tags=["review"])


class GivenReading(Body):
    """One key. ``event``: an identifier of the sender's own, so that it can be sent again."""

    event: Identifier
    cell: Identifier
    label: Line
    ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None


class GivenReadings(Body):
    """Keys in their order."""

    readings: Annotated[list[GivenReading], Field(min_length=1, max_length=MOST_READINGS)]


Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40, pattern=r"^[^\x00-\x1f]+$")]


class Lane(Body):
    """One label: its name as stored, as shown, its key, and what it means."""

    name: Short
    words: Short
    key: Annotated[str, Field(max_length=1)] = ""
    counts: bool = True
    blast: bool = False
    offered: bool = True


class Lanes(Body):
    """All lanes in their order; ``version``: of the list that was changed."""

    labels: Annotated[list[Lane], Field(min_length=2, max_length=MOST)]
    version: Annotated[int, Field(ge=0)]


class Decision(Body):
    """What a cell is called on which two readers differ."""

    cell: Identifier
    label: Line
    reason: Words


class SessionCell(BaseModel):
    """What is taken of one cell; the rest of it, the app's answer, is left out."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    place: tuple[int, int, int, int] | None = None
    label: Line | None = None
    answered: Line


class AppSession(BaseModel):
    """What the app in the pocket exports."""

    format: Literal["leukoscope-app-session"]
    format_version: Literal[1]
    cells: Annotated[list[SessionCell], Field(max_length=10_000)]


@router.get("/labels")
def labels(bench: Bench, person: Viewer) -> dict[str, Any]:
    """The lanes and the keys."""
    with bench.database.read() as connection:
        lanes, version = known_lanes(connection), lanes_version(connection)
    return {"labels": [each.to_json() for each in lanes.values()], "version": version, "keys": dict(COMMAND_KEYS)}


@router.post("/labels")
def change_labels(given: Lanes, bench: Bench, person: Manager) -> dict[str, Any]:
    """Put other lanes in their place; what a label that was read means cannot be changed."""
    lanes = [Label(**each.model_dump()) for each in given.labels]
    return {"version": change_lanes(bench, person, lanes, given.version)}


@router.get("/cases/{case_id}/cells")
def cells(
    case_id: Identifier, bench: Bench, person: Viewer,
    sort: Literal["place", "change", "probability", "gate", "disagreement"] = "place",
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS, unread: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A page of the cells of a case."""
    return list_cells(bench, person, case_id, sort=sort, after=after, limit=limit, unread=unread)


@router.get("/cells/{cell_id}")
def cell(cell_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """One cell."""
    return get_cell(bench, person, cell_id)


@router.get("/cells/{cell_id}/neighbours")
def alike(cell_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """The cells that look most alike."""
    return {"neighbours": neighbours(bench, person, cell_id)}


@router.get("/cells/{cell_id}/words")
def words(cell_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """What is measured of a cell and where its heat map lies."""
    return {"words": cell_words(bench, person, cell_id)}


@router.get("/cells/{cell_id}/{what}", response_class=FileResponse)
def drawn(
    cell_id: Identifier, what: Literal["small.jpg", "frame.jpg", "heat.png"], bench: Bench, person: Viewer
) -> FileResponse:
    """A drawing of a cell."""
    kind = "image/png" if what.endswith("png") else "image/jpeg"
    path = drawing(bench, person, cell_id, what)
    return FileResponse(path, media_type=kind, headers={"cache-control": "private, max-age=3600"})


@router.post("/cases/{case_id}/app-sessions")
def take(case_id: Identifier, given: AppSession, bench: Bench, person: Reader) -> dict[str, Any]:
    """Take the labels that were given in the app to pictures of this case; those of fields by the places of cells."""
    labelled = [
        Labelled(each.sha256, each.label, each.answered, each.place)
        for each in given.cells
        if each.sha256 and each.label
    ]
    return take_labels(bench, person, case_id, labelled)


@router.post("/cases/{case_id}/reviews")
def take_review(case_id: Identifier, given: Review, bench: Bench, person: Reader) -> dict[str, Any]:
    """Take the labels of a review that a gallery exported: those of fields where the same bundle answered alike."""
    labelled = [
        Labelled(
            each.sha256, each.label, given.created,
            number=None if each.cell is None else (each.cell, given.bundle_digest, each.probability),
        )
        for each in given.cells
        if each.sha256 and each.label in ("blast", "normal")
    ]  # fmt: skip
    return take_labels(bench, person, case_id, labelled)


@router.post("/cases/{case_id}/readings")
def read(case_id: Identifier, given: GivenReadings, bench: Bench, person: Reader) -> dict[str, Any]:
    """Take keys; what is answered is stored."""
    new = [NewReading(each.event.lower(), each.cell, each.label, each.ms) for each in given.readings]
    return add_readings(bench, person, case_id, new)


@router.get("/cases/{case_id}/readings")
def acts(case_id: Identifier, bench: Bench, person: Reader, after: Number = 0) -> dict[str, Any]:
    """One's own readings and withdrawals after a number."""
    return my_readings(bench, person, case_id, after)


@router.delete("/readings/{event}")
def undo(event: Identifier, bench: Bench, person: Reader) -> dict[str, Any]:
    """Take a reading back."""
    return withdraw(bench, person, event.lower())


@router.get("/cases/{case_id}/summary")
def summary(case_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """The case as it stands."""
    return summarise(bench, person, case_id)


@router.post("/cases/{case_id}/complete")
def finish(case_id: Identifier, bench: Bench, person: Reader) -> dict[str, Any]:
    """Say that one has read the case to its end."""
    return complete(bench, person, case_id)


@router.get("/cases/{case_id}/differing")
def queue(case_id: Identifier, bench: Bench, person: Reader) -> dict[str, Any]:
    """Cells on which two readers differ."""
    return {"cells": differing(bench, person, case_id)}


@router.post("/cases/{case_id}/adjudications")
def decide(case_id: Identifier, given: Decision, bench: Bench, person: Reader) -> dict[str, Any]:
    """Decide between two readers."""
    return adjudicate(bench, person, case_id, given.cell, given.label, given.reason)
