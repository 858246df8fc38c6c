"""What `bundle.json` says: all that the graph itself cannot hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from leukoscope.bundle.audits import AuditFacts
from leukoscope.bundle.gate import GateFacts
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.digests import unpacked
from leukoscope.metrics.bootstrap import Estimate

FORMAT = "leukoscope-bundle"
FORMAT_VERSION = 1
GRAPH_FILE = "model.onnx"
FACTS_FILE = "bundle.json"
CARD_FILE = "README.md"


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WeightsFacts(_Facts):
    """What a network started from, where that was not chance."""

    source: str  # `file:NAME` or `hub:OWNER/NAME`
    sha256: str  # of the file
    licence: str | None = None  # None: the file states none


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
    weights: WeightsFacts | None = None  # None: random
    pixels: str | None = None  # of the pictures trained and validated on, by `datasets.digests`; None: not known
    machine: str

    @field_validator("pixels")
    @classmethod
    def _digests(cls, value: str | None) -> str | None:
        if value is not None:
            unpacked(value)
        return value


class WorstFacts(_Facts):
    """The subject of whom the smallest share of cells was decided rightly, among those with enough cells."""

    subject: str
    accuracy: Annotated[float, Field(ge=0, le=1)]
    cells: int


class MeasuredFacts(_Facts):
    """What the bundle scored on patients that it never saw."""

    data: str
    protocol: str
    fold: int
    pictures: int
    groups: list[str]
    metrics: dict[str, Estimate]
    worst_subject: WorstFacts | None = None


Method = Literal["as trained", "temperature"]
Share = Annotated[float, Field(ge=0, le=1)]


class CalibrationFacts(_Facts):
    """What the probabilities were fitted on; `as trained`: nothing fitted there was clearly better than the network."""

    method: Method
    data: str
    groups: list[str]  # patient groups
    pictures: int
    blasts: int
    chose_epoch: bool  # the groups also chose the epoch of the weights: used twice
    log_loss: dict[str, float] = {}  # of each method compared, on groups left out of its fit


class ReferFacts(_Facts):
    """The band in which nothing is decided, and what it promises.

    `new patients`: on average over new patients, at most the share `level` of a patient's blasts is called normal
    (conformal risk control, one unit per patient group). `same patients`: with `confidence`, at most that share of
    further blasts of the very patients that the band was set on; it promises nothing for others.
    """

    low: Share  # normal where probability < low
    high: Share  # blast where probability >= high; between the two: refer
    level: Share  # aimed at: share of blasts called normal
    guarantee: Literal["new patients", "same patients"]
    confidence: Share | None = None  # None: the promise is about the average
    groups: int  # patient groups with blasts that the band was set on
    blasts: int  # their blasts
    missed: Share  # share of them below the band: mean over groups for new patients, over blasts for the same
    smallest_level: Share  # that so few groups allow to promise for new patients
    groups_needed: int  # to promise `level` for new patients


class DecisionFacts(_Facts):
    """How a logit becomes a decision; see `leukoscope.bundle.decision`."""

    threshold: Share = 0.5  # blast where probability >= threshold
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 1.0  # probability = sigmoid(logit / temperature)
    map: None = None  # of format 1: other maps than a temperature were tried once, and given up
    calibrated: bool = False  # fitted on held-out groups
    calibration: CalibrationFacts | None = None
    refer: ReferFacts | None = None
    no_refer: str | None = None  # why a band that was asked for could not be set

    @field_validator("map", mode="before")
    @classmethod
    def _no_map(cls, value: object) -> object:
        if value is not None:
            raise ValueError("probabilities by Platt, beta or isotonic maps are no longer read: calibrate again")
        return value

    @model_validator(mode="after")
    def _band_holds_threshold(self) -> Self:
        if self.refer is not None and not self.refer.low <= self.threshold == self.refer.high:
            raise ValueError("the band of refer must end at the threshold")
        return self


class RateFacts(_Facts):
    """How often the cells of a patient are called blast: over patients, beta distributed."""

    mean: Share  # over patient groups
    correlation: Annotated[float, Field(gt=0, lt=1)]  # of two cells of one patient: 0 patients alike, 1 all or nothing
    groups: int
    cells: int


class SubjectErrorFacts(_Facts):
    """What the rule did on patient groups left out of its fit; shares of groups, exact binomial intervals."""

    protocol: str
    auc: Estimate  # of patient groups, by their share of cells called blast
    alarmed: Estimate  # groups without blasts stated `blasts likely`
    missed: Estimate  # groups with blasts stated `blasts not seen`
    referred: Estimate  # groups of either kind without a statement
    groups_blast: int
    groups_normal: int


class SubjectFacts(_Facts):
    """How the cells of one subject become one statement; see `leukoscope.bundle.patients`.

    It holds for cells called blast from `logit` upwards. `blasts likely` is stated from a share of cells called blast
    of `likely_from`, `blasts not seen` below `unlikely_below`; None: never, so few patients cannot promise it.
    """

    data: str
    protocol: str  # which answers of which networks it was fitted on
    groups_blast: list[str]
    groups_normal: list[str]
    logit: float
    min_cells: Annotated[int, Field(ge=1)]
    sensitivity: RateFacts
    false_alarm: RateFacts
    alarm_level: Share  # of new patients without blasts, at most this share is stated `blasts likely`
    missed_level: Share  # of new patients like those with blasts, at most this share is stated `blasts not seen`
    likely_from: Annotated[float, Field(ge=0, le=1)] | None
    unlikely_below: Annotated[float, Field(ge=0, le=1)] | None
    errors: list[SubjectErrorFacts] = []

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        both = self.likely_from is not None and self.unlikely_below is not None
        if both and self.unlikely_below > self.likely_from:  # type: ignore[operator]
            raise ValueError("a subject cannot be both `blasts likely` and `blasts not seen`")
        return self


class StepFacts(_Facts):
    """A step of an adaptation: mean log loss, or share that the gate refers, on cells left out without it and with."""

    name: str
    choice: str
    kept: bool
    without: Annotated[float, Field(allow_inf_nan=False)] | None
    with_it: Annotated[float, Field(allow_inf_nan=False)] | None


class LabelsFacts(_Facts):
    """How well cells left out were ranked from so many labelled ones, mean and range over draws."""

    cells: Annotated[int, Field(ge=1)]
    auc: Share
    least: Share
    most: Share


class ParentFacts(_Facts):
    """The bundle that this one was adapted from, to which cells, and what that changed on cells left out of the fit."""

    name: str
    files: dict[str, str]  # of the parent: file name -> SHA-256
    data: str
    cells: int
    blasts: int
    units: list[str]  # what was left out one by one: patient groups, or parts of the cells where no patient is known
    by_patient: bool
    strength: Annotated[float, Field(gt=0)] | None  # of the pull towards the parent's head; None: only its bias moved
    trust: Share = 1.0  # how much of the parent's head is kept
    unlabelled: Annotated[int, Field(ge=0)] = 0  # cells without a label, which gave moments and limits
    steps: list[StepFacts] = []
    curve: list[LabelsFacts] = []
    warnings: list[str] = []
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    gain: dict[str, Estimate]  # after minus before, on the same cells
    forced: bool  # written although nothing was clearly gained


class QuantisedFacts(_Facts):
    """The bundle that this one is the 8-bit form of, and the cells on which its logit was fitted to the float one's."""

    parent: str
    files: dict[str, str]  # of the parent: file name -> SHA-256
    data: str
    data_fingerprint: str
    groups: list[str]  # patient groups
    pictures: Annotated[int, Field(ge=1)]
    seed: int  # of the choice of pictures
    convolutions: Annotated[int, Field(ge=1)]  # whose weights are 8-bit; the others are float


class BundleFacts(_Facts):
    """The whole of `bundle.json`."""

    format: Literal["leukoscope-bundle"] = "leukoscope-bundle"
    format_version: Literal[1] = 1
    name: str
    version: str  # of the leukoscope that wrote it
    created: str  # ISO 8601 date
    classes: tuple[Literal["normal"], Literal["blast"]] = ("normal", "blast")
    preparation: Preparation
    input_size: Annotated[int, Field(ge=1, le=4096)]  # pixels: what the graph resizes the frame to
    um_per_px: Annotated[float, Field(gt=0, le=1000)] | None = None  # of the frame; None where the data do not say
    decision: DecisionFacts = DecisionFacts()
    gate: GateFacts | None = None  # which pictures are judged; None: none is checked
    training: TrainingFacts | None = None
    measured: list[MeasuredFacts] = []
    audits: list[AuditFacts] = []  # at most one of each kind; [] says: not audited
    subjects: SubjectFacts | None = None
    parent: ParentFacts | None = None
    precision: Literal["fp32", "int8"] = "fp32"  # of the weights and sums of the convolutions
    quantised: QuantisedFacts | None = None
    licence: str = "Apache-2.0"
    data_licences: list[str] = []
    intended_use: str = (
        "Decision support for research: a second look at segmented white blood cells. Not a medical device, "
        "never a diagnosis."
    )
    files: dict[str, str]  # file name -> SHA-256, of every other file of the bundle

    @model_validator(mode="after")
    def _audits_are_of_this_graph(self) -> Self:
        if len({each.kind for each in self.audits}) < len(self.audits):
            raise ValueError("two audits of one kind")
        if any(each.graph != self.files.get(GRAPH_FILE, each.graph) for each in self.audits):
            raise ValueError("an audit of another graph")
        return self

    @model_validator(mode="after")
    def _precision_is_told(self) -> Self:
        if (self.precision == "int8") != (self.quantised is not None):
            raise ValueError("an 8-bit bundle, and no other, says what it was quantised from")
        return self
