"""The part of `bundle.json` that says how the bundle came out of its audits, and on which cells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from leukoscope.bundle.estimate import Estimate

Kind = Literal["explanations", "shortcuts"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleFacts(_Facts):
    """One rule of an audit: what must hold, what was found, in words and figures, and how that came out."""

    key: str
    asked: str
    found: str
    outcome: Literal["passes", "fails", "not measured"]


class AuditFacts(_Facts):
    """One audit of the bundle's graph. It says nothing of another graph, so the graph's hash goes with it."""

    kind: Kind
    graph: str  # SHA-256 of the model.onnx that was audited
    data: str
    data_fingerprint: str
    patients: Literal["unseen", "seen too"]  # of the cells: whether the bundle was trained or calibrated on some
    left_out: list[str]  # patient groups of the data that were not asked about because the bundle has seen them
    left_out_pictures: Annotated[int, Field(ge=0)]
    cells: Annotated[int, Field(ge=1)]
    blasts: Annotated[int, Field(ge=0)]
    groups: list[str]  # patient groups of the cells
    unreadable: Annotated[int, Field(ge=0)] = 0  # pictures that could not be read
    date: str  # ISO 8601
    version: str  # of the leukoscope that audited
    machine: str
    seed: int
    rules: list[RuleFacts]
    figures: dict[str, Estimate]  # see `leukoscope.bundle.audit_claim.TITLES`
    notes: list[str] = []
