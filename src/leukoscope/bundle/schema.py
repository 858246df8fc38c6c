"""What `bundle.json` says: all that the graph itself cannot hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from leukoscope.cells.prepare import Preparation

FORMAT = "leukoscope-bundle"
FORMAT_VERSION = 1
GRAPH_FILE = "model.onnx"
FACTS_FILE = "bundle.json"
CARD_FILE = "README.md"


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Facts):
    """A figure with its 95 % interval from a bootstrap over patient groups; the ends are None where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class TrainingFacts(_Facts):
    """Where the weights come from."""

    model: str
    arguments: dict[str, Any]
    parameters: int
    recipe: str
    seed: int
    data: str
    data_fingerprint: str
    pictures: int
    groups_trained: list[str]
    groups_validated: list[str]
    shortened: str | None = None  # what was cut short against the named recipe, None if nothing
    machine: str


class MeasuredFacts(_Facts):
    """What the bundle scored on patients that it never saw."""

    data: str
    protocol: str
    fold: int
    pictures: int
    groups: list[str]
    metrics: dict[str, Estimate]


class DecisionFacts(_Facts):
    """How a logit becomes a decision."""

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5  # blast where probability >= threshold
    temperature: Annotated[float, Field(gt=0)] = 1.0  # probability = sigmoid(logit / temperature)
    calibrated: bool = False


class BundleFacts(_Facts):
    """The whole of `bundle.json`."""

    format: Literal["leukoscope-bundle"] = "leukoscope-bundle"
    format_version: Literal[1] = 1
    name: str
    version: str  # of the leukoscope that wrote it
    created: str  # ISO 8601 date
    classes: tuple[Literal["normal"], Literal["blast"]] = ("normal", "blast")
    preparation: Preparation
    input_size: int  # pixels: what the graph resizes the frame to
    um_per_px: float | None = None  # of the frame; None where the training data do not say
    decision: DecisionFacts = DecisionFacts()
    training: TrainingFacts | None = None
    measured: list[MeasuredFacts] = []
    licence: str = "Apache-2.0"
    data_licences: list[str] = []
    intended_use: str = (
        "Decision support for research: a second look at segmented white blood cells. Not a medical device, "
        "never a diagnosis."
    )
    files: dict[str, str]  # file name -> SHA-256, of every other file of the bundle
