"""What metrics.json holds, as types, and the base of all types of what is written: see docs/*.schema.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Written(BaseModel):
    """What a program of ours writes for others': no key but those that are named."""

    model_config = ConfigDict(extra="forbid", title=None)


class Figure(Written):
    """A figure with its 95 % interval; null where undefined or unknown."""

    value: float | None
    low: float | None
    high: float | None


class IntervalFacts(Written):
    """How intervals are drawn."""

    level: float
    unit: Literal["patient group"]
    replicates: int
    seed: int


class WorstSubject(Written):
    """Of those with enough cells, the one with the fewest decided rightly."""

    subject: str
    accuracy: float | None


class SubjectLine(Written):
    """One subject of an evaluation."""

    subject: str
    group: str
    n: int = Field(description="pictures")
    label: Literal["blast", "normal", "mixed"]
    blasts: int
    mean_probability: float | None
    called_blast: float | None
    accuracy: float | None
    brier: float | None
    gap: float | None = Field(description="mean probability minus share of blasts")
    referred: float | None


class EvaluationContext(Written):
    """Where the answers come from, and what is said beside the figures."""

    protocol: str
    data: str | None = None
    fingerprint: str | None = None
    fold: int | None = None
    seed: int | None = None
    model: str | None = Field(default=None, description="name of the bundle")
    graph: str | None = Field(default=None, description="SHA-256 of its graph")
    software: str | None = Field(default=None, description="version of leukoscope that measured")
    trained_on: list[str] | None = None
    machine: str | None = None
    shortened: str | None = None
    caveats: str | None = None
    warning: str | None = None
    probabilities: str | None = None
    refer: str | None = None
    gate: str | None = None
    subjects: str | None = None
    unreadable: int | None = None
    audit_pages: dict[str, str] | None = None


class WorstGroup(Written):
    """The patient group of which the band missed most."""

    group: str
    missed: float | None


class ReferralFacts(Written):
    """What the band did."""

    low: float = Field(description="probability from which it refers")
    figures: dict[str, Figure]
    worst_group: WorstGroup | None


class ReliabilityFacts(Written):
    """Calibration by bins of probability."""

    pictures: list[float | None]
    mean_probability: list[float | None]
    observed: list[float | None]
    low: list[float | None]
    high: list[float | None]


Curves = dict[str, list[float | None]]


class EvaluationFile(Written):
    """The file metrics.json of `evaluate` and of a run's evaluation."""

    format: Literal["leukoscope-evaluation"]
    format_version: Literal[1]
    context: EvaluationContext
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    counts: dict[str, int]
    metrics: dict[str, Figure]
    interval: IntervalFacts
    naive_picture_intervals: dict[str, Figure] = Field(description="over pictures as if each were another patient's")
    confusion: dict[str, int]
    worst_subject: WorstSubject | None
    subjects: list[SubjectLine]
    roc: Curves
    precision_recall: Curves
    risk_coverage: Curves
    missed_coverage: Curves
    referral: ReferralFacts | None
    reliability: ReliabilityFacts
    audits: list[dict[str, Any]]
    notes: list[str]
