"""The answer for one cell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import Finding
from leukoscope.cells.quality import Quality
from leukoscope.text import decodable

Decision = Literal["blast", "normal", "refer", "unreadable"]
GateState = Literal["passed", "turned down", "not checked"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell lies that was found in a field, or in a crop with its surroundings.

    Attributes:
        number: of the cell in its picture, from 1, from top to bottom.
        box: x, y, width, height in pixels of the picture.
        kind: of the picture.
        um_per_px: its scale; None where unknown.
        warnings: what the answer may suffer from, in sentences without a full stop.
    """

    number: int
    box: tuple[int, int, int, int]
    kind: Literal["crop", "field"]
    um_per_px: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a bundle says about one picture. Decision support for research, never a diagnosis.

    Attributes:
        path: the picture's file, None where an array was given.
        sha256: of the file's bytes, hexadecimal; None for an array or where the file cannot be read.
        probability: of blast, 0 to 1, as `bundle.decision` states it; None where unreadable.
        logit: positive is blast; None where unreadable.
        decision: `blast` where the probability reaches the bundle's threshold; below it `refer` in the bundle's band,
            if it has one, else `normal`; `refer`, whatever the probability, where the gate turns the picture down; or
            `unreadable`.
        model: the bundle's name.
        ms: milliseconds from file to answer; the graph's time is the batch's divided by its cells.
        reason: why the cell is referred; None otherwise.
        error: why the picture is unreadable, without the path; None otherwise.
        heatmap: float32 [h, w], signed Grad-CAM in logit units over the whole frame: positive speaks for blast.
        embedding: float32 [E], the network's pooled features.
        frame: uint8 [F, F, 3] RGB, what the network saw.
        timings: milliseconds by stage: `read` (decode), `prepare` (frame the cell), `graph`; `measure` where asked.
        morphology: what was measured of the cell, from `inference.morphology.summarise`; None where not asked.
        gate: whether the bundle's gate found the picture fit to be judged; `not checked` where the bundle has none, or
            the picture is unreadable. The probability of a picture that was turned down means nothing.
        findings: why the gate turned it down, the worst first.
        gate_score: distance of the worst measure from the middle of the training cells, 1 at its limit; None where not
            checked or not finite.
        quality: what the gate measured; None where not checked.
        place: of a cell that was found in a field or a crop; None for a picture of one cell on black. Where such a cell
            could not be asked, ``probability`` is None too and the decision `refer`, with the reason.
        words: the strongest measured facts and where the heat map lies, in two sentences; None where not asked.
    """

    path: str | None
    sha256: str | None
    probability: float | None
    logit: float | None
    decision: Decision
    model: str
    ms: float
    error: str | None = None
    reason: str | None = None
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False)
    embedding: NDArray[np.float32] | None = field(default=None, repr=False)
    frame: NDArray[np.uint8] | None = field(default=None, repr=False)
    timings: dict[str, float] = field(default_factory=dict, repr=False)
    morphology: dict[str, Any] | None = field(default=None, repr=False)
    words: str | None = field(default=None, repr=False)
    gate: GateState = "not checked"
    findings: tuple[Finding, ...] = ()
    gate_score: float | None = None
    quality: Quality | None = field(default=None, repr=False)
    place: Place | None = None

    @property
    def name(self) -> str:
        """The picture's path, with the number of the cell where the picture holds several; `-` for an array."""
        return (self.path or "-") + ("" if self.place is None else f" #{self.place.number}")

    def to_json(self) -> dict[str, Any]:
        """The answer without its arrays, as JSON-ready values in a fixed order.

        >>> Prediction("a.png", None, None, None, "unreadable", "m", 0.0, "the file is empty").to_json()["decision"]
        'unreadable'
        """
        measured = {} if self.words is None else {"morphology": self.morphology, "words": self.words}
        return {
            "path": None if self.path is None else decodable(self.path),
            "sha256": self.sha256,
            "probability": self.probability,
            "logit": self.logit,
            "decision": self.decision,
            "model": self.model,
            "ms": round(self.ms, 3),
            "error": self.error,
            "reason": self.reason,
            "gate": self.gate,
            "gate_score": None if self.gate_score is None else round(self.gate_score, 4),
            "findings": [asdict(finding) for finding in self.findings],
            "cell": None if self.place is None else self.place.number,
            "place": None if self.place is None else asdict(self.place),
        } | measured
