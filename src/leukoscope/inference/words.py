"""What was measured and why the gate refers, in plain sentences: the facts that stand out most.

The sentences describe the cell; they do not claim that the network went by these facts. Every number in them is one
of the measured ones, rounded; where the cell has less of something than most, the percentages are turned round. A fact
that is more usual among cells of the other class is granted with "although".
Phrases stand in one table for each language; only what is in braces is filled in: `n` and `b` are percentiles among
normal and blast cells, `v` is the measured value, `more` is the comparative of that measurement. A translation needs
every key of `ENGLISH`, with the same braces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import Finding, Gate
from leukoscope.cells.quality import Quality

GateState = Literal["passed", "turned down", "not checked"]

_THAN: Final = "than {n} % of normal and {b} % of blast cells"

ENGLISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        # One clause per measurement.
        "cell_diameter": f"the cell is {{more}} {_THAN} (diameter {{v}} px)",
        "cell_roundness": f"its outline is {{more}} {_THAN} (roundness {{v}})",
        "cell_elongation": f"it is {{more}} {_THAN} (ratio {{v}})",
        "cell_solidity": f"its outline has {{more}} {_THAN} (solidity {{v}})",
        "cell_irregularity": f"its outline is {{more}} {_THAN} (irregularity {{v}})",
        "nucleus_area": f"its nucleus is {{more}} {_THAN} (area {{v}} px)",
        "nucleus_share": f"its nucleus fills {{more}} {_THAN} (share {{v}})",
        "nucleus_roundness": f"its nucleus is {{more}} {_THAN} (roundness {{v}})",
        "nucleus_solidity": f"its nucleus has {{more}} {_THAN} (solidity {{v}})",
        "nucleus_irregularity": f"its nucleus is {{more}} {_THAN} (irregularity {{v}})",
        "chromatin_density": f"its chromatin stains {{more}} {_THAN} (optical density {{v}})",
        "chromatin_entropy": f"its chromatin is {{more}} {_THAN} (entropy {{v}} bit)",
        "chromatin_contrast": f"its chromatin is {{more}} {_THAN} (fine contrast {{v}} %)",
        "chromatin_clumping": f"its chromatin is {{more}} {_THAN} (coarse contrast {{v}} %)",
        "nucleolus_candidates": f"it has {{more}} {_THAN} (count {{v}})",
        "cytoplasm_basophilia": f"its cytoplasm is {{more}} {_THAN} (basophilia {{v}})",
        # What `more` above stands for: `less` where both percentiles are below the middle, and are turned round.
        "more cell_diameter": "larger",
        "less cell_diameter": "smaller",
        "more cell_roundness": "rounder",
        "less cell_roundness": "less round",
        "more cell_elongation": "longer for its width",
        "less cell_elongation": "shorter for its width",
        "more cell_solidity": "fewer dents",
        "less cell_solidity": "more dents",
        "more cell_irregularity": "less regular",
        "less cell_irregularity": "more regular",
        "more nucleus_area": "larger",
        "less nucleus_area": "smaller",
        "more nucleus_share": "more of the cell",
        "less nucleus_share": "less of the cell",
        "more nucleus_roundness": "rounder",
        "less nucleus_roundness": "less round",
        "more nucleus_solidity": "fewer dents",
        "less nucleus_solidity": "more dents",
        "more nucleus_irregularity": "less regular",
        "less nucleus_irregularity": "more regular",
        "more chromatin_density": "darker",
        "less chromatin_density": "paler",
        "more chromatin_entropy": "more mixed",
        "less chromatin_entropy": "more even",
        "more chromatin_contrast": "grainier",
        "less chromatin_contrast": "smoother",
        "more chromatin_clumping": "more clumped",
        "less chromatin_clumping": "less clumped",
        "more nucleolus_candidates": "more pale spots like nucleoli",
        "less nucleolus_candidates": "fewer pale spots like nucleoli",
        "more cytoplasm_basophilia": "bluer",
        "less cytoplasm_basophilia": "less blue",
        # Joining clauses.
        "comma": ", ",
        "and": " and ",
        # First sentence. A decision comes first; what speaks against it is granted, never hidden.
        "decision blast": "Decision blast",
        "decision normal": "Decision normal",
        "decision refer": "Referred to a person",
        "facts": "{decision}: {facts}.",
        "facts against": "{decision}, {facts}.",
        "no facts": "{decision}: no measured feature is clearly more usual among one kind of cell.",
        "although": "although {facts}",
        "usual blast": "{facts}, which is more usual among blast cells",
        "usual normal": "{facts}, which is more usual among normal cells",
        "usual none": "{facts}, which is unusual among both",
        "join": "; ",
        # Second sentence: where the heat map lies.
        "map parts": "{nucleus} % in the nucleus, {cytoplasm} % in the cytoplasm and {outside} % outside the cell",
        "map cell": "{cell} % in the cell and {outside} % outside it",
        "map both": "The heat map has its evidence for blast {blast}, and for normal {normal}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map blast": "The heat map holds evidence for blast alone, {blast}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map normal": "The heat map holds evidence for normal alone, {normal}; "
        "the cell covers {cover} % of the frame{notes}.",
        "map none": "The heat map holds no evidence.",
        "note against blast": ", although more of the map speaks for normal",
        "note against normal": ", although more of the map speaks for blast",
        "note outside": ", and most of what supports the decision lies outside the cell: read the map with care",
        # Why the gate refers a picture; `limit` is where unusual begins.
        "turned down": "referred by the gate: {reasons}",
        "turned down first": "No decision, {reason}.",
        "gate unknown scale": "its frame has {v} px, the training cells' {limit}, so the scale of the cell is "
        "not known (give it with --um-per-px)",
        "gate swapped channels": "its colours are nearer to those of the training cells with red and blue swapped "
        '({v} times), as in arrays and files of OpenCV (give RGB, or channels="bgr")',
        "gate too small": "the cell is too small for the scale of the training cells "
        "({v} px across, usual from {limit})",
        "gate too large": "the cell is too large for the scale of the training cells "
        "({v} px across, usual up to {limit})",
        "gate ragged": "its outline is ragged, as where segmentation failed (solidity {v}, usual from {limit})",
        "gate cut straight": "the cell is cut off along a straight line "
        "(over {v} of its diameter, usual up to {limit})",
        "gate cut by the border": "the cell is cut off by the border of the picture "
        "(over {v} of its diameter, usual up to {limit})",
        "gate second object": "the picture shows more than one object "
        "(the second has {v} of the largest one's area, usual up to {limit})",
        "gate two bodies": "the outline holds more than one cell "
        "(a second disc of {v} of the radius fits in, usual up to {limit})",
        "gate blurred": "it is blurred (sharpness {v}, usual from {limit})",
        "gate noisy": "it is noisy or over-sharpened (sharpness {v}, usual up to {limit})",
        "gate flat": "it shows no structure (contrast {v} levels, usual from {limit})",
        "gate harsh": "its contrast is too high (contrast {v} levels, usual up to {limit})",
        "gate too dark": "it is too dark (grey level {v}, usual from {limit})",
        "gate too bright": "it is too bright (grey level {v}, usual up to {limit})",
        "gate clipped": "its bright parts are clipped (share {v}, usual up to {limit})",
        "gate no nucleus": "nothing in it stains as a nucleus (optical density {v}, usual from {limit})",
        "gate foreign stain": "its colours differ from the stain of the training cells "
        "(distance {v}, usual up to {limit})",
        "gate foreign look": "the network sees something unlike the training cells (distance {v}, usual up to {limit})",
        "gate unknown": "its {measure} cannot be measured",
        "unreadable": "No answer: the picture could not be read.",
    }
)

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({"en": ENGLISH})


Side = Literal["blast", "normal", "none"]

MOST_FACTS: Final = 3
APART: Final = 15.0  # percentile points between the classes: less tells nothing
MARGIN: Final = 10.0  # percentile points by which one class' middle must be nearer than the other's
MIDDLE: Final = 50.0  # percentile of a cell that is like half of the others
UNUSUAL: Final = 97.0  # beyond this percentile, or below 100 minus it, in both classes

#: How each value is written, and which facts say much the same: only the strongest of a family is told.
TOLD: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "cell_diameter": ("{:.0f}", "size"),
        "cell_roundness": ("{:.2f}", "form"),
        "cell_elongation": ("{:.2f}", "form"),
        "cell_solidity": ("{:.2f}", "form"),
        "cell_irregularity": ("{:.3f}", "form"),
        "nucleus_area": ("{:.0f}", "size"),
        "nucleus_share": ("{:.2f}", "nucleus share"),
        "nucleus_roundness": ("{:.2f}", "nucleus form"),
        "nucleus_solidity": ("{:.2f}", "nucleus form"),
        "nucleus_irregularity": ("{:.3f}", "nucleus form"),
        "chromatin_density": ("{:.2f}", "density"),
        "chromatin_entropy": ("{:.2f}", "texture"),
        "chromatin_contrast": ("{:.1f}", "texture"),
        "chromatin_clumping": ("{:.1f}", "texture"),
        "nucleolus_candidates": ("{:.0f}", "nucleoli"),
        "cytoplasm_basophilia": ("{:z.2f}", "cytoplasm"),
    }
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One measurement that stands out.

    Attributes:
        name: of the measurement.
        value: as measured.
        normal: percentile among normal cells.
        blast: percentile among blast cells.
        side: the class whose middle it is nearer to; `none` where it is extreme in both.
        strength: percentile points: between the classes, or from the middle where it is extreme in both.
    """

    name: str
    value: float
    normal: float
    blast: float
    side: Side
    strength: float


def words(decision: str, morphology: Mapping[str, Any] | None, *, language: str = "en") -> str:
    """Two sentences on one cell; one for an unreadable picture.

    Args:
        decision: `blast`, `normal`, `refer` or `unreadable`.
        morphology: from `leukoscope.inference.morphology.summarise`; None only where unreadable.
        language: a key of `phrases.LANGUAGES`.

    Raises:
        ValueError: no such decision or language, or a readable cell without measurements.
    """
    if language not in LANGUAGES:
        raise ValueError(f"there are no phrases in {language!r}, only in {', '.join(LANGUAGES)}")
    phrases = LANGUAGES[language]
    if decision == "unreadable":
        return phrases["unreadable"]
    if f"decision {decision}" not in phrases or morphology is None:
        raise ValueError(f"nothing can be said of the decision {decision!r} without a phrase and measurements")
    first = _first(decision, strongest(morphology["measurements"]), phrases)
    return f"{first} {_second(decision, morphology['evidence'], phrases)}"


def strongest(measurements: Mapping[str, Mapping[str, Any]]) -> list[Fact]:
    """The facts that stand out most, the strongest first, at most `MOST_FACTS` and one of a family."""
    found = [fact for name in TOLD if (fact := _fact(name, measurements.get(name, {}))) is not None]
    found.sort(key=lambda fact: -fact.strength)  # stable: ties in the order of the table
    told: dict[str, Fact] = {}
    for fact in found:
        told.setdefault(TOLD[fact.name][1], fact)
    return list(told.values())[:MOST_FACTS]


def _fact(name: str, entry: Mapping[str, Any]) -> Fact | None:
    value, normal, blast = (entry.get(key) for key in ("value", "normal_percentile", "blast_percentile"))
    if value is None or normal is None or blast is None:
        return None
    from_normal, from_blast = abs(normal - 50), abs(blast - 50)
    if abs(normal - blast) >= APART and abs(from_normal - from_blast) >= MARGIN:
        side: Side = "blast" if from_blast < from_normal else "normal"
        return Fact(name, value, normal, blast, side, abs(normal - blast))
    if min(normal, blast) >= UNUSUAL or max(normal, blast) <= 100 - UNUSUAL:
        return Fact(name, value, normal, blast, "none", max(from_normal, from_blast))
    return None


def _first(decision: str, facts: Sequence[Fact], phrases: Mapping[str, str]) -> str:
    head = phrases[f"decision {decision}"]
    if not facts:
        return phrases["no facts"].format(decision=head)
    other = {"blast": "normal", "normal": "blast"}.get(decision)
    order: tuple[Side, ...] = ("normal", "none", "blast") if decision == "normal" else ("blast", "none", "normal")
    groups = []
    for side in order:
        clauses = [_clause(fact, phrases) for fact in facts if fact.side == side]
        if clauses:
            text = phrases[f"usual {side}"].format(facts=_listed(clauses, phrases))
            groups.append(phrases["although"].format(facts=text) if side == other else text)
    kind = "facts against" if all(fact.side == other for fact in facts) else "facts"
    return phrases[kind].format(decision=head, facts=phrases["join"].join(groups))


def _clause(fact: Fact, phrases: Mapping[str, str]) -> str:
    more, normal, blast = "more", fact.normal, fact.blast
    if max(normal, blast) < MIDDLE:  # "smaller than 98 %" is plainer than "larger than only 2 %"
        more, normal, blast = "less", 100 - normal, 100 - blast
    return phrases[fact.name].format(
        more=phrases[f"{more} {fact.name}"],
        n=percent(normal / 100),
        b=percent(blast / 100),
        v=TOLD[fact.name][0].format(fact.value),
    )


def _listed(clauses: Sequence[str], phrases: Mapping[str, str]) -> str:
    if len(clauses) == 1:
        return clauses[0]
    return phrases["comma"].join(clauses[:-1]) + phrases["and"] + clauses[-1]


def _second(decision: str, evidence: Mapping[str, Any], phrases: Mapping[str, str]) -> str:
    places = {side: evidence[side] for side in ("blast", "normal") if evidence[side] is not None}
    if not places:
        return phrases["map none"]
    texts = {side: _places(shares, phrases) for side, shares in places.items()}
    notes = ""
    if decision in ("blast", "normal"):
        support = evidence["blast_share_of_map"] if decision == "blast" else 1 - evidence["blast_share_of_map"]
        if support < 0.5:
            notes += phrases[f"note against {decision}"]
        if decision in places and places[decision]["outside"] > 0.5:
            notes += phrases["note outside"]
    kind = "map both" if len(places) == 2 else f"map {next(iter(places))}"
    return phrases[kind].format(**texts, cover=percent(evidence["cell_share_of_frame"]), notes=notes)


def _places(shares: Mapping[str, float], phrases: Mapping[str, str]) -> str:
    kind = "map parts" if "nucleus" in shares else "map cell"
    return phrases[kind].format(**{place: percent(share) for place, share in shares.items()})


def percent(share: float) -> str:
    """A share as whole percent, as all of them are written.

    >>> percent(0.934)
    '93'
    """
    return f"{100 * share:.0f}"


MOST_REASONS = 3
#: How values and limits are written, by measure.
_WRITTEN = {
    "side": "{:.0f}", "diameter": "{:.0f}", "contrast": "{:.0f}", "brightness": "{:.0f}", "stain_distance": "{:.1f}",
    "embedding_distance": "{:.1f}", "nuclear_stain": "{:.2f}", "sharpness": "{:.1f}",
}  # fmt: skip
_OTHERS = "{:.2f}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate makes of a decision.

    Attributes:
        decision: as the rule gave it; `refer` where the gate refers the picture.
        reason: why it is referred; what the gate found comes first.
        gate: `not checked` without a gate.
        findings: why the gate refers it, the worst first.
        score: distance of the worst measure from the middle of the training cells, 1 at its limit; None where not
            checked or not finite.
    """

    decision: Literal["blast", "normal", "refer"]
    reason: str | None
    gate: GateState = "not checked"
    findings: tuple[Finding, ...] = ()
    score: float | None = None

    def after(self, gate: Gate, quality: Quality, embedding: NDArray[np.float32]) -> Judgement:
        """The judgement once the gate has seen the picture.

        Args:
            gate: of the bundle.
            quality: of the picture and its cell.
            embedding: float32 [E].

        Raises:
            BundleError: the embedding has another size than the gate was fitted on.
        """
        verdict = gate.check(quality.values, quality.stain, embedding, quality.side)
        score = verdict.score if math.isfinite(verdict.score) else None
        if not verdict.findings:
            return replace(self, gate="passed", score=score)
        told = in_words(verdict.findings)
        reason = told if self.reason is None else f"{told}; {self.reason}"
        return Judgement("refer", reason, "turned down", verdict.findings, score)


def in_words(findings: Sequence[Finding], *, language: str = "en") -> str:
    """Why the gate refers a picture, the worst first, at most `MOST_REASONS`.

    Args:
        findings: at least one, the worst first.
        language: a key of `phrases.LANGUAGES`.

    >>> in_words([Finding("blurred", "sharpness", -3.25, -2.5)])
    'referred by the gate: it is blurred (sharpness -3.2, usual from -2.5)'
    """
    phrases = LANGUAGES[language]
    told = [_told(finding, language) for finding in findings[:MOST_REASONS]]
    return phrases["turned down"].format(reasons=phrases["comma"].join(told))


def _told(finding: Finding, language: str) -> str:
    phrases = LANGUAGES[language]
    if finding.value is None:
        return phrases["gate unknown"].format(measure=finding.measure.replace("_", " "))
    form = _WRITTEN.get(finding.measure, _OTHERS)
    value, limit = form.format(finding.value), form.format(finding.limit)
    return phrases[f"gate {finding.reason}"].format(v=value, limit=limit)
