"""What rows and summaries hold, as types: their JSON Schemas in docs/ are made from these."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from leukoscope._version import __version__
from leukoscope.bundle.gate import Finding
from leukoscope.bundle.read import Bundle
from leukoscope.inference.answer import Decision
from leukoscope.inference.cells import Place
from leukoscope.inference.words import GateState
from leukoscope.metrics.schemas import Written

ROW_FORMAT: Final = 1
SEALED: Final = "SHA-256 of this very file with these 64 digits as zeros: nobody altered it"


class PredictionRow(Written):
    """A line of predictions.jsonl: the answer for one cell, or for one picture that could not be read."""

    format: Literal[1] = Field(description="of this row; raised when a field changes its meaning or goes")
    path: str | None = Field(description="file of the picture; null where none was given")
    sha256: str | None = Field(description="of the file's bytes, hexadecimal")
    probability: float | None = Field(ge=0, le=1, description="of blast; null where the network was not asked")
    logit: float | None = Field(description="positive is blast")
    decision: Decision = Field(description="blast, normal, refer (to a person), or unreadable")
    model: str = Field(description="name of the bundle")
    ms: float = Field(ge=0, description="milliseconds of the processor's clock from file to answer")
    error: str | None = Field(description="why the picture is unreadable")
    reason: str | None = Field(description="why the cell is referred")
    gate: GateState = Field(description="whether the picture was found fit to be judged")
    gate_score: float | None = Field(description="distance of the worst measure, 1 at its limit")
    findings: list[Finding] = Field(description="what the gate found, the worst first")
    cell: int | None = Field(description="number of the cell in its picture; null for one cell on black")
    place: Place | None = Field(description="where the cell lies in a field or crop")
    bundle: str = Field(description="SHA-256 of the bundle's facts, which hold that of its graph")
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    software: str = Field(description="version of leukoscope")
    order: int | None = Field(default=None, description="with --order score: place among those to look at")
    morphology: dict[str, Any] | None = Field(default=None, description="with --morphology: what was measured")
    words: str | None = Field(default=None, description="with --morphology: the facts in two sentences")


class BatchSummary(Written):
    """The file summary.json beside the answers."""

    statement: str = Field(description="research use only")
    software: str = Field(description="version of leukoscope")
    model: str = Field(description="name of the bundle")
    bundle: str = Field(description="SHA-256 of the bundle's facts")
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    refer_from: float | None = Field(description="probability from which the band refers; null without a band")
    gate: bool = Field(description="whether pictures were checked")
    pictures: int = Field(ge=0, description="how many were given")
    answers: dict[Decision, int] = Field(description="by decision")
    in_fields: int = Field(ge=0, description="answers for cells that were found in fields or crops")
    left_out: dict[str, int] = Field(description="files that hold no picture, by suffix")
    run: str | None = Field(default=None, description="digest of the pictures' names, the bundle and the settings")


class Ends(Written):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


class ShareOfPatient(Ends):
    """The share of a patient's cells called blast."""

    fields: int | None = Field(description="over which the interval is drawn; null where they are not known")
    interval: str = Field(description="how the interval was made, in words")


class StrongCell(Written):
    """One of a patient's cells that look most like a blast."""

    path: str
    cell: int | None = Field(description="number of the cell in its picture; null for one cell on black")
    probability: float | None
    logit: float | None
    decision: str


class PatientRow(Written):
    """One patient in patients.json and patients.jsonl."""

    patient: str
    share: ShareOfPatient | None = Field(description="called blast among those judged; null without any")
    statement: Literal["blasts likely", "blasts not seen", "refer", "too few cells", "withheld"]
    reason: str = Field(description="of the statement")
    pictures: int = Field(ge=0, description="files of the patient")
    cells: int = Field(ge=0, description="found")
    answered: int = Field(ge=0, description="judged: what the share rests on")
    blast: int = Field(ge=0)
    normal: int = Field(ge=0)
    referred: int = Field(ge=0)
    turned_down: int = Field(ge=0, description="referred without being judged, by the gate or for want of a scale")
    unreadable: int = Field(ge=0, description="pictures without a cell")
    repeated: int = Field(ge=0, description="pictures left out as the same bytes again")
    corrected: Ends | None = Field(description="the share, corrected for what the network does on new patients")
    strongest: list[StrongCell]
    warnings: list[str]
    words: str


class PatientsFile(Written):
    """The file patients.json of `field --by patient`."""

    format: Literal[1] = Field(description="of this file; raised when a field changes its meaning or goes")
    bundle: str = Field(description="SHA-256 of the bundle's facts")
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    software: str = Field(description="version of leukoscope")
    statement: str = Field(description="what the answers for fields are not")
    rule: str = Field(description="for patients, and what was measured of it, in words")
    named_by: str = Field(description="how it is known whose a picture is")
    patients: list[PatientRow]
    digest: str = Field(description=SEALED)


class FieldCell(Written):
    """A white cell of a field."""

    number: int = Field(ge=1)
    state: str = Field(description="whole, cut by the edge, smudged, touching ...")
    decision: Decision
    probability: float | None
    logit: float | None
    reason: str | None = Field(description="why it is referred")
    gate: GateState | None = Field(description="null where the network was not asked")
    box: list[int] = Field(min_length=4, max_length=4, description="left, top, width, height in pixels")
    diameter_um: float | None
    nucleus_area_um2: float | None
    nucleus_share: float | None = Field(description="of the cell's area; null where it is cut")
    outline: list[list[float]] = Field(description="x, y of each corner, in pixels")
    nucleus: list[list[list[float]]]


class FieldRecord(Written):
    """A file of fields/: one picture, and its white cells. Of one that could not be read: path and error."""

    format: Literal[1] = Field(description="of this file; raised when a field changes its meaning or goes")
    bundle: str = Field(description="SHA-256 of the bundle's facts")
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    software: str = Field(description="version of leukoscope")
    path: str | None
    sha256: str | None = Field(default=None, description="of the file's bytes, hexadecimal")
    kind: Literal["framed", "crop", "field"] | None = Field(default=None, description="what the picture shows")
    width: int | None = None
    height: int | None = None
    model: str | None = Field(default=None, description="name of the bundle")
    stain: Literal["none", "reinhard"] | None = None
    statement: str = Field(description="what the answers for fields are not")
    ruler: dict[str, Any] | None = Field(default=None, description="the scale, and where it is from")
    warnings: list[str] | None = None
    white_cells: int | None = None
    blast: int | None = None
    normal: int | None = None
    refer: int | None = None
    platelets_or_dirt: int | None = None
    cells: list[FieldCell]
    error: str | None = Field(description="why the picture could not be read")
    file: list[int] | None = Field(description="size and time of change of the file, by which it is known again")
    digest: str = Field(description=SEALED)


def row_facts(bundle: Bundle) -> dict[str, Any]:
    """What each row says of how it came about."""
    return {
        "format": ROW_FORMAT, "bundle": bundle.digest, "threshold": bundle.facts.decision.threshold,
        "software": __version__,
    }  # fmt: skip


#: By the name of the file, as docs/prediction.schema.json.
SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    "prediction": PredictionRow, "summary": BatchSummary, "patients": PatientsFile, "field": FieldRecord
}  # fmt: skip
