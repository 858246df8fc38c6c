"""What comparison.json and crossval.json hold, as types: their JSON Schemas in docs/ are made from these."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from leukoscope.metrics.schemas import EvaluationFile, Figure, IntervalFacts, WorstSubject, Written


class MadeWith(Written):
    """Command, machine and bootstrap."""

    command: str | None = None
    load: str | None = Field(default=None, description="how busy the machine was")
    machine: str
    interval: IntervalFacts


class BundleOfRun(Written):
    """Which bundle answered which part."""

    fold: int
    seed: int
    bundle: str = Field(description="SHA-256 of the bundle's facts")
    threshold: float = Field(ge=0, le=1, description="probability from which blast is called")
    software: str = Field(description="version of leukoscope that made it")


class RunsOfEntry(BaseModel):
    """The runs of an entry; further facts are the same for all runs, or lists."""

    model_config = ConfigDict(extra="allow", title=None)
    protocol: str
    folds: list[int]
    seeds: list[int]
    data: str
    fingerprint: str
    bundles: list[BundleOfRun]
    training_minutes: dict[str, float] | None


class Roc(Written):
    """Mean over seeds."""

    false_positive_rate: list[float]
    sensitivity: list[float | None]


class CostFacts(Written):
    """What an entry costs."""

    parameters: int
    macs: int
    activations: int
    file_bytes: int
    input_size: int
    peak_memory_mib: dict[str, float] = Field(description="by batch")
    ms_per_cell: list[dict[str, Any]] = Field(description="by engine, threads and batch")


class ComparedEntry(Written):
    """A line of a comparison: what it reached, and what it costs, as far as that was measured."""

    name: str
    fault: str | None = Field(description="why something is missing")
    runs: RunsOfEntry | None = None
    metrics: dict[str, Figure] | None = None
    minus_reference: dict[str, Figure] | None = None
    better_than_reference: dict[str, bool | None] | None = Field(
        default=None, description="null: the cells do not tell"
    )
    by_seed: dict[str, dict[str, float | None]] | None = None
    by_fold: dict[str, dict[str, float | None]] | None = None
    by_laboratory: dict[str, dict[str, Figure]] | None = None
    worst_subject: WorstSubject | None = None
    roc: Roc | None = None
    cost: CostFacts | None = None


class ComparisonFile(Written):
    """The file comparison.json of `compare`."""

    format: Literal["leukoscope-comparison"]
    format_version: Literal[1]
    software: str = Field(description="version of leukoscope that compared")
    context: MadeWith
    reference: str | None
    counts: dict[str, int]
    notes: list[str]
    entries: list[ComparedEntry]


class FoldFacts(Written):
    """One fold, mean over seeds."""

    counts: dict[str, int]
    metrics: dict[str, Figure]


class RunOfCrossval(BundleOfRun):
    """One run: its own figures, without intervals, and its history by epoch."""

    cells: int
    minutes: float | None
    metrics: dict[str, float | None]
    history: list[dict[str, float]]


class NamedRuns(RunsOfEntry):
    """What was cross-validated."""

    name: str


class CrossvalFile(Written):
    """The file crossval.json of `crossval`."""

    format: Literal["leukoscope-crossval"]
    format_version: Literal[1]
    run: str | None = Field(description="digest of what was asked for: recipes, folds, seeds, data")
    software: str = Field(description="version of leukoscope that pooled")
    context: MadeWith
    counts: dict[str, int]
    notes: list[str]
    entry: NamedRuns
    metrics: dict[str, Figure] = Field(description="all folds together, mean over seeds")
    by_seed: dict[str, dict[str, float | None]]
    worst_subject: WorstSubject | None
    roc: Roc
    by_fold: dict[str, FoldFacts]
    worst_fold: int | None = Field(description="by AUC")
    runs: list[RunOfCrossval]


#: By the name of the file, as docs/comparison.schema.json.
STUDY_SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    "comparison": ComparisonFile, "crossval": CrossvalFile, "evaluation": EvaluationFile
}  # fmt: skip
