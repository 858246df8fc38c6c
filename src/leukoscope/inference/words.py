"""What was measured, in two plain sentences: the facts that stand out most, and where the heat map lies.

The sentences describe the cell; they do not claim that the network went by these facts. Every number in them is one
of the measured ones, rounded. A fact that is more usual among cells of the other class is granted with "although".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from leukoscope.inference.phrases import LANGUAGES

Side = Literal["blast", "normal", "none"]

MOST_FACTS: Final = 3
APART: Final = 15.0  # percentile points between the classes: less tells nothing
MARGIN: Final = 10.0  # percentile points by which one class' middle must be nearer than the other's
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
    n, b = percent(fact.normal / 100), percent(fact.blast / 100)
    only = phrases["only"] if max(int(n), int(b)) < 50 else ""
    return phrases[fact.name].format(only=only, n=n, b=b, v=TOLD[fact.name][0].format(fact.value))


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
