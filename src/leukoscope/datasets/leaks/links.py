"""The proof that two pictures show one cell, what kind of copy it is, and the groups of subjects that follow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.groups import group_name
from leukoscope.datasets.leaks.align import Alignment
from leukoscope.datasets.leaks.tiles import PICTURE_SIDE, TILE_SIDE
from leukoscope.text import natural


class Kind(StrEnum):
    """How two pictures of one cell differ."""

    BYTES = "byte-identical"
    PIXELS = "pixel-identical"
    NEAR = "near-duplicate"
    AGAIN = "re-photographed"


@dataclass(frozen=True, slots=True)
class Transform:
    """What takes the first picture to the second: mirror left to right, then turn, then scale, then shift.

    Attributes:
        angle: degrees, clockwise on the screen, above -180 up to 180.
        mirror: whether it mirrors.
        scale: pixels of the second per pixel of the first.
        shift: (x, y), how far the first picture's centre lands from the second's, in pixels of the second.
    """

    angle: float
    mirror: bool
    scale: float
    shift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Link:
    """Two pictures that show one physical cell.

    Attributes:
        first, second: indices into the manifest, first < second.
        kind: how they differ.
        score: correlation of texture inside the overlap, mean of two bands; 1 for identical pictures.
        fine: that of the finer band alone.
        overlap: shared part of the smaller cell, 0 to 1.
        transform: takes the first picture to the second.
        neighbours: how many other links join the same two fields; 0 where fields are unknown.
        matrix: float64 [2, 3], tile to (mirrored) tile, for drawing.
    """

    first: int
    second: int
    kind: Kind
    score: float
    fine: float
    overlap: float
    transform: Transform
    neighbours: int = 0
    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    @property
    def identical(self) -> bool:
        """Whether bytes or pixels are equal."""
        return self.kind in (Kind.BYTES, Kind.PIXELS)


def picture_transform(
    alignment: Alignment, places: tuple[NDArray[np.float64], NDArray[np.float64]], sizes: NDArray[np.int64]
) -> Transform:
    """Alignment of two tiles, told in pixels of the two pictures.

    Args:
        alignment: of the tiles.
        places: of both tiles, float64 [2, 3] each, picture to tile.
        sizes: width and height of both pictures, int64 [2, 2].
    """
    flip = np.array([[-1.0, 0, TILE_SIDE - 1], [0, 1, 0], [0, 0, 1]]) if alignment.mirror else np.eye(3)
    whole = np.linalg.inv(_square(places[1])) @ flip @ _square(alignment.matrix) @ _square(places[0])
    linear = whole[:2, :2]
    scale = math.sqrt(abs(float(np.linalg.det(linear))))
    turn = linear @ np.diag([-1.0, 1.0]) if alignment.mirror else linear
    angle = math.degrees(math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
    centre = whole @ np.array([*((sizes[0] - 1) / 2), 1.0])
    shift = centre[:2] - (sizes[1] - 1) / 2
    return Transform(angle, alignment.mirror, scale, (float(shift[0]), float(shift[1])))


def kind_of(alignment: Alignment, transform: Transform, sizes: NDArray[np.int64]) -> Kind:
    """Whether one picture is the other's file processed again, or the cell was photographed again.

    A near-duplicate has the same grey levels, lies on the other frame to frame by quarter turns, and is as sharp.
    """
    off = abs((transform.angle + 45) % 90 - 45)
    stretch = transform.scale * float(sizes[0].max()) / float(sizes[1].max())
    shift = math.hypot(*transform.shift) * PICTURE_SIDE / float(sizes[1].max())
    # The scale is known to about 1 %: the fading rim pulls it down a little.
    same = off < 0.5 and abs(stretch - 1) < 0.02 and shift < 1.5
    return Kind.NEAR if same and alignment.grey < 2 and alignment.fine > 0.96 else Kind.AGAIN


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])


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


@dataclass(frozen=True, slots=True)
class Null:
    """Scores of unrelated pairs that went through the same alignment.

    Attributes:
        pairs: pairs drawn.
        aligned: pairs for which an alignment was found.
        mean, spread: of the scores after Fisher's z transform.
        highest: the highest score.
        threshold: score from which a pair counts as one cell.
    """

    pairs: int
    aligned: int
    mean: float
    spread: float
    highest: float
    threshold: float


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found.

    Attributes:
        manifest: what was audited.
        links: pairs of pictures that show one cell, best evidence first.
        pairs: evidence per pair of subjects.
        groups: subject to patient group; empty where no subject is known.
        conflicts: indices of links between a blast and a normal cell.
        unreadable: path and reason.
        blank: paths of pictures with nothing on them; they are compared with none.
        whole: number of pictures without a black surround, compared as whole pictures.
        collisions: sets of paths that are equal after case folding.
        candidates: pairs that were laid over each other.
        null: the calibration.
        measures: float64 [N, 9], see `tiles.MEASURES`; NaN for unreadable and blank pictures.
        seconds: wall time by stage.
        store: work folder with the tiles.
        keys: of its chunks.
    """

    manifest: Manifest
    links: tuple[Link, ...]
    pairs: tuple[SubjectPair, ...]
    groups: Mapping[str, str]
    conflicts: tuple[int, ...]
    unreadable: tuple[tuple[str, str], ...]
    blank: tuple[str, ...]
    whole: int
    collisions: tuple[tuple[str, ...], ...]
    candidates: int
    null: Null
    measures: NDArray[np.float64]
    seconds: Mapping[str, float]
    store: Path
    keys: tuple[str, ...]

    @property
    def review(self) -> tuple[SubjectPair, ...]:
        """Pairs of subjects with a link that is not enough to join them."""
        return tuple(pair for pair in self.pairs if not pair.joined)

    def crosses_subjects(self, link: Link) -> bool:
        """Whether a link joins two known subjects."""
        a, b = (self.manifest.records[i].subject for i in (link.first, link.second))
        return bool(a and b and a != b)

    def count(self, kind: Kind, *, across: bool | None = None) -> int:
        """Number of links of a kind, all or only those across (or within) subjects."""
        return sum(
            link.kind is kind and (across is None or self.crosses_subjects(link) == across) for link in self.links
        )
