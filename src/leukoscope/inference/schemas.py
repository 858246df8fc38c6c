"""What rows and summaries hold, as types: their JSON Schemas in docs/ are made from these."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from leukoscope._version import __version__
from leukoscope.bundle.gate import Finding
from leukoscope.bundle.read import Bundle
from leukoscope.inference.answer import Decision
from leukoscope.inference.cells import Place
from leukoscope.inference.words import GateState

ROW_FORMAT: Final = 1


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", title=None)


class PredictionRow(_Written):
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


class BatchSummary(_Written):
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


def row_facts(bundle: Bundle) -> dict[str, Any]:
    """What each row says of how it came about."""
    return {
        "format": ROW_FORMAT, "bundle": bundle.digest, "threshold": bundle.facts.decision.threshold,
        "software": __version__,
    }  # fmt: skip


#: By the name of the file, as docs/prediction.schema.json.
SCHEMAS: Final[dict[str, type[BaseModel]]] = {"prediction": PredictionRow, "summary": BatchSummary}
