"""What a bundle says: of one cell, and of all cells of one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import Finding
from leukoscope.cells.quality import Quality
from leukoscope.inference.cells import Cell, Place, Reading
from leukoscope.inference.words import GateState
from leukoscope.smears.normalise import Normalisation
from leukoscope.smears.rings import valid_ring
from leukoscope.text import decodable

Decision = Literal["blast", "normal", "refer", "unreadable"]

HONEST = (
    "The model was trained on cells of one laboratory, cut out on black; a field of another microscope, stain or "
    "camera is outside of what it was trained and measured on."
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Answer:
    """What a bundle says about one cell. Decision support for research, never a diagnosis.

    Attributes:
        path: the picture's file, None where an array was given.
        sha256: of the file's bytes, hexadecimal; None for an array or where the file cannot be read.
        probability: of blast, 0 to 1, as `bundle.decision` states it; None where the cell was not asked.
        logit: positive is blast; None where the cell was not asked.
        decision: `blast` where the probability reaches the bundle's threshold; below it `refer` in the bundle's band,
            if it has one, else `normal`; `refer`, whatever the probability, where the gate turns the picture down, or
            where the cell could not be asked; or `unreadable`, of a picture without a cell.
        model: the bundle's name.
        ms: milliseconds from file to answer; the graph's time is the batch's divided by its cells, the rest that of the
            picture divided by its cells.
        error: why the picture is unreadable, without the path; None otherwise.
        reason: why the cell is referred; None otherwise.
        cell: what was asked; of an unreadable picture, an empty one.
        heatmap: float32 [h, w], signed, in logit units over the whole frame: positive speaks for blast.
        embedding: float32 [E], the network's pooled features.
        timings: milliseconds by stage: those of `Reading.timings`, and `graph`.
        gate: whether the bundle's gate found the picture fit to be judged; `not checked` where the bundle has none, or
            the cell was not asked. The probability of a picture that the gate refers means nothing.
        findings: why the gate refers it, the worst first.
        gate_score: distance of the worst measure from the middle of the training cells, 1 at its limit; None where not
            checked or not finite.
        morphology: what was measured of the cell, from `inference.morphology.summarise`; None where not asked.
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
    cell: Cell = field(default_factory=Cell, repr=False)
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False)
    embedding: NDArray[np.float32] | None = field(default=None, repr=False)
    timings: dict[str, float] = field(default_factory=dict, repr=False)
    gate: GateState = "not checked"
    findings: tuple[Finding, ...] = ()
    gate_score: float | None = None
    morphology: dict[str, Any] | None = field(default=None, repr=False)
    words: str | None = field(default=None, repr=False)

    @property
    def frame(self) -> NDArray[np.uint8] | None:
        """What the network saw, uint8 RGB [F, F, 3]; None where it was not asked."""
        return self.cell.frame

    @property
    def place(self) -> Place | None:
        """Where the cell was found in a field or a crop; None for a picture of one cell on black."""
        return self.cell.place

    @property
    def quality(self) -> Quality | None:
        """What the gate measured; None where not checked."""
        return self.cell.quality

    @property
    def asked(self) -> bool:
        """Whether the network answered."""
        return self.logit is not None

    @property
    def name(self) -> str:
        """The picture's path, with the number of the cell where the picture holds several; `-` for an array."""
        return (self.path or "-") + ("" if self.place is None else f" #{self.place.number}")

    def __repr__(self) -> str:
        """Short: what was decided, of what, how likely.

        >>> Answer("a.png", None, 0.25, -1.1, "normal", "m", 3.0)
        <Answer a.png: normal, probability 0.250>
        """
        told = "" if self.probability is None else f", probability {self.probability:.3f}"
        why = self.error or self.reason
        return f"<Answer {decodable(self.name)}: {self.decision}{told}{f' ({why})' if why else ''}>"

    def _repr_html_(self) -> str:
        """For notebooks: the cell, its heat map, and what was decided."""
        from leukoscope.inference.shown import html_of  # noqa: PLC0415 - draws only where shown

        return html_of(self)

    def overlay(self, *, scale: float | None = None, legend: bool = False) -> NDArray[np.uint8]:
        """What the network saw with its heat map over it, uint8 RGB [F, F, 3]; see `inference.overlay.overlay`.

        Raises:
            ValueError: the network was not asked, so there is no map.
        """
        from leukoscope.inference.overlay import overlay  # noqa: PLC0415 - which draws answers

        if self.frame is None or self.heatmap is None:
            raise ValueError(f"{self!r} has no heat map: the network was not asked, or the arrays were let go")
        return overlay(self.frame, self.heatmap, scale=scale, legend=legend)

    def to_dict(self) -> dict[str, Any]:
        """As `to_json`: plain values without arrays."""
        return self.to_json()

    def to_json(self) -> dict[str, Any]:
        """The answer without its arrays, as JSON-ready values in a fixed order.

        >>> Answer("a.png", None, None, None, "unreadable", "m", 0.0, "the file is empty").to_json()["decision"]
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

    @classmethod
    def from_json(cls, values: dict[str, Any], path: str | None) -> Answer:
        """The answer again from what `to_json` gave, without its arrays, for the file of this path."""
        place = values["place"]
        if place is not None:
            place = Place(**place | {"box": tuple(place["box"]), "warnings": tuple(place["warnings"])})
        return cls(
            path, values["sha256"], values["probability"], values["logit"], values["decision"], values["model"],
            values["ms"], values["error"], values["reason"], Cell(place=place), gate=values["gate"],
            findings=tuple(Finding(**each) for each in values["findings"]), gate_score=values["gate_score"],
            morphology=values.get("morphology"), words=values.get("words"),
        )  # fmt: skip


Prediction = Answer
"""The former name, for one version more."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a bundle says about one picture: one answer for each of its cells, or one `unreadable` one.

    Attributes:
        reading: the picture.
        each: the answers, in the order of `Reading.cells`.
        model: the bundle's name.
        stain: how light and stain of a field were changed before the model was asked.
    """

    reading: Reading
    each: tuple[Answer, ...]
    model: str
    stain: Normalisation = "none"

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    @property
    def cells(self) -> tuple[Answer, ...]:
        """The answers for cells: none for a picture without any."""
        return self.each if self.reading.cells else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the answers may suffer from."""
        return () if self.reading.finding is None else self.reading.finding.warnings

    def count(self, decision: Decision) -> int:
        """How many cells got this decision."""
        return sum(answer.decision == decision for answer in self.cells)

    def to_json(self) -> dict[str, Any]:
        """The picture and its cells without their pixels, as JSON-ready values in a fixed order.

        Raises:
            ValueError: the picture was not kept, or could not be read: there is no outline.
        """
        finding = self.reading.finding
        if finding is None:
            raise ValueError("no outlines: read with ReadOptions(keep=True)")
        ruler = finding.ruler
        height, width = finding.shape
        path = self.reading.path
        return {
            "path": None if path is None else decodable(path),
            "sha256": self.reading.sha256,
            "kind": self.reading.kind,
            "width": width,
            "height": height,
            "model": self.model,
            "stain": self.stain,
            "statement": HONEST,
            "ruler": ruler.to_json(),
            "warnings": list(self.warnings),
            "white_cells": len(self.cells),
            "blast": self.count("blast"),
            "normal": self.count("normal"),
            "refer": self.count("refer"),
            "platelets_or_dirt": finding.platelets,
            "cells": [_outlined(n, answer, ruler.um_per_px) for n, answer in enumerate(self.cells, 1)],
            "error": None,
        }


def _outlined(number: int, answer: Answer, um_per_px: float | None) -> dict[str, Any]:
    """One cell with its outline; sizes in micrometres are None where the scale is unknown or the cell is cut."""
    found = answer.cell.found
    assert found is not None
    um = None if found.state == "cut" else um_per_px
    return {
        "number": number,
        "state": found.state,
        "decision": answer.decision,
        "probability": answer.probability,
        "logit": answer.logit,
        "reason": answer.reason,
        "gate": answer.gate if answer.asked else None,
        "box": list(found.box),
        "diameter_um": None if um is None else round(found.diameter * um, 2),
        "nucleus_area_um2": None if um is None else round(found.nucleus_area * um**2, 1),
        "nucleus_share": None if found.state == "cut" else round(min(1.0, found.nucleus_area / found.area), 3),
        "outline": valid_ring(found.outline).tolist(),
        "nucleus": [valid_ring(ring).tolist() for ring in found.nucleus],
    }
