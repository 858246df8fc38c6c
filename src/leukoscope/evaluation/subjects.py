"""The same answers person by person: an average over pictures can hide a patient on whom the model fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.ranking import Ranking, roc_auc
from leukoscope.evaluation.table import Scores
from leukoscope.evaluation.weighting import Array
from leukoscope.evaluation.wording import natural

ENOUGH_CELLS = 20


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject: pictures, blasts among them, mean probability of blast, shares called blast and decided rightly.

    ``brier`` is the mean squared distance of probability and truth over its pictures; ``referred`` the share of them in
    the band. Both shares before it are those of the bare threshold, as if nothing were referred.
    """

    subject: str
    group: str
    n: int
    blasts: int
    mean_probability: float
    called_blast: float
    accuracy: float
    brier: float
    referred: float = 0.0

    @property
    def gap(self) -> float:
        """Mean probability minus share of blasts: above 0 the model sees too much here, below 0 too little."""
        return self.mean_probability - self.blasts / self.n

    @property
    def label(self) -> str:
        """``blast``, ``normal`` or ``mixed``: the classes among its pictures."""
        return "normal" if self.blasts == 0 else "blast" if self.blasts == self.n else "mixed"


def subject_names(scores: Scores) -> NDArray[np.str_]:
    """Name of the subject of each picture, [N]; the group's where the data set names no subject."""
    return np.where(scores.subject == "", scores.group, scores.subject).astype(np.str_)


def subject_rows(scores: Scores, threshold: float, refer_from: float | None = None) -> tuple[SubjectRow, ...]:
    """One row per subject, in natural order of names; blast is called where probability >= threshold.

    Below the threshold, pictures of a probability of at least ``refer_from`` count as referred; none if it is None.
    """
    names, first, index = np.unique(subject_names(scores), return_index=True, return_inverse=True)
    called = scores.probability >= threshold
    n = np.bincount(index)
    blasts = np.bincount(index, weights=scores.label)
    probability = np.bincount(index, weights=scores.probability) / n
    share = np.bincount(index, weights=called) / n
    right = np.bincount(index, weights=called == scores.label) / n
    distance = np.bincount(index, weights=(scores.probability - scores.label) ** 2) / n
    band = ~called & (scores.probability >= (np.inf if refer_from is None else refer_from))
    referred = np.bincount(index, weights=band) / n
    rows = [
        SubjectRow(
            subject=str(names[k]),
            group=str(scores.group[first[k]]),
            n=int(n[k]),
            blasts=int(blasts[k]),
            mean_probability=float(probability[k]),
            called_blast=float(share[k]),
            accuracy=float(right[k]),
            brier=float(distance[k]),
            referred=float(referred[k]),
        )
        for k in range(len(names))
    ]
    return tuple(sorted(rows, key=lambda row: natural(row.subject)))


def worst_subject(rows: Sequence[SubjectRow], *, cells: int = ENOUGH_CELLS) -> SubjectRow | None:
    """The subject of lowest accuracy among those with at least ``cells`` pictures; of equals, the one with most."""
    return min((row for row in rows if row.n >= cells), key=lambda row: (row.accuracy, -row.n), default=None)


@dataclass(frozen=True, slots=True)
class SubjectRanking:
    """AUC in which a subject counts once, scored by the mean probability of its pictures.

    A subject is positive if any of its pictures is a blast. Weights are those of the pictures [..., N]; all pictures of
    a subject must have the same weight, as in a bootstrap over groups.
    """

    first: NDArray[np.int64]
    ranking: Ranking

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """Average and sort the subjects of a table."""
        _, first, index = np.unique(subject_names(scores), return_index=True, return_inverse=True)
        mean = np.bincount(index, weights=scores.probability) / np.bincount(index)
        positive = np.bincount(index, weights=scores.label) > 0
        return cls(first.astype(np.int64), Ranking.of(positive, mean))

    def auc(self, weights: Array) -> Array:
        """AUC over subjects, [...]."""
        return roc_auc(self.ranking.sweep(weights[..., self.first]))
