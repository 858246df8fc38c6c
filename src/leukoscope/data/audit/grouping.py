"""From links between pictures to groups of subjects, with a stated rule of evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leukoscope.data.audit.links import Kind, Link
from leukoscope.data.groups import group_name, natural

STRONG_SCORE = 0.9
RULE = (
    "Two subjects are joined by one byte- or pixel-identical picture, by two links between different cells, or by one "
    f"link whose texture correlates by {STRONG_SCORE} or more; any other single link is left for review."
)


@dataclass(frozen=True, slots=True)
class SubjectPair:
    """The evidence that two subjects are one patient.

    Attributes:
        first, second: subjects, in natural order.
        links: indices into the list of links.
        kinds: number of links of each kind.
        cells: number of pairs that share no picture with each other, so that one cell photographed thrice counts once.
        best: highest score.
        joined: whether the rule joins them.
    """

    first: str
    second: str
    links: tuple[int, ...]
    kinds: Mapping[Kind, int]
    cells: int
    best: float
    joined: bool


def subject_pairs(links: Sequence[Link], subjects: Sequence[str]) -> list[SubjectPair]:
    """Evidence for every pair of subjects that a link joins, most links first.

    Args:
        links: between pictures.
        subjects: one per picture, empty where unknown.
    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, link in enumerate(links):
        a, b = sorted((subjects[link.first], subjects[link.second]), key=natural)
        if a and b and a != b:
            found[a, b].append(number)
    pairs = []
    for (a, b), numbers in found.items():
        chosen = [links[n] for n in numbers]
        kinds = {kind: sum(link.kind is kind for link in chosen) for kind in Kind}
        cells, best = _distinct(chosen), max(link.score for link in chosen)
        joined = any(link.identical for link in chosen) or cells >= 2 or best >= STRONG_SCORE
        pairs.append(SubjectPair(a, b, tuple(numbers), kinds, cells, best, joined))
    return sorted(pairs, key=lambda pair: (-len(pair.links), natural(pair.first), natural(pair.second)))


def patient_groups(pairs: Iterable[SubjectPair], subjects: Iterable[str]) -> dict[str, str]:
    """Group of every subject, by union of the pairs that the rule joins; in natural order of subjects."""
    names = sorted({subject for subject in subjects if subject}, key=natural)
    parent = {name: name for name in names}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        if pair.joined:
            parent[find(pair.first)] = find(pair.second)
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[find(name)].append(name)
    return {name: group_name(members[find(name)]) for name in names}


def _distinct(links: Sequence[Link]) -> int:
    """Greedy count of links no two of which share a picture."""
    used: set[int] = set()
    count = 0
    for link in sorted(links, key=lambda link: -link.score):
        if link.first not in used and link.second not in used:
            used |= {link.first, link.second}
            count += 1
    return count
