"""What an audit found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.audit.grouping import SubjectPair
from leukoscope.data.audit.links import Kind, Link
from leukoscope.data.manifest import Manifest


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
