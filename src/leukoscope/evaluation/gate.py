"""Fitting a gate: the limits beyond which a picture is unlike those that a network learned from.

Everything is fitted on whole patient groups. What is measured of the pictures does not depend on the network, so all
groups serve; the network's embedding is tighter on the groups that it was trained on, so only groups that it has not
seen set the embedding's limit. Stain distances are cross-fitted: each group is measured by a fit without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import EMBEDDING_DISTANCE, STAIN_DISTANCE, TESTS, embedding_distances, stain_distances
from leukoscope.bundle.gate_facts import EmbeddingFacts, GateFacts
from leukoscope.cells.quality import MEASURES
from leukoscope.errors import DataError
from leukoscope.evaluation.gate_limits import beyond, tightest
from leukoscope.evaluation.gaussians import fit_embedding, fit_stain
from leukoscope.evaluation.wording import natural

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEVEL: Final = 0.05  # of cells like those of the fit, at most this share is to be turned down
AIMED: Final = 0.5  # of the level is used up on the cells of the fit: new patients are less alike than they
EMBEDDING_PART: Final = 0.4  # of what is used up goes to the embedding, the rest to all other tests together
ENOUGH_CELLS: Final = 20
FOLDS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class GateCells:
    """What was measured of N readable pictures.

    Args:
        values: float64 [N, M], in the order of `leukoscope.cells.quality.MEASURES`.
        stain: float64 [N, 9].
        embedding: float64 [N, E].
        group: str [N], the patient group.
        held_out: bool [N], no weight of the network was trained on the group.

    Raises:
        DataError: fewer than 20 pictures, one group, or a number that is not finite.
    """

    values: Array
    stain: Array
    embedding: Array
    group: NDArray[np.str_]
    held_out: Flags

    def __post_init__(self) -> None:
        """Refuse what nothing can be fitted on."""
        count = len(self.group)
        where = f"the pictures to fit the gate on ({count})"
        if count < ENOUGH_CELLS:
            raise DataError(f"{where} are too few", remedy=f"give {ENOUGH_CELLS} cells or more, of several patients")
        if len(np.unique(self.group)) < 2:
            raise DataError(f"{where} come from one patient group", remedy="add cells of other patients")
        for name in ("values", "stain", "embedding"):
            bad = ~np.isfinite(getattr(self, name)).all(axis=1)
            if bad.any():
                raise DataError(
                    f"{name} of {int(bad.sum())} of {count} pictures to fit the gate on are not finite",
                    remedy="check the network: its answers cannot be used",
                )

    def __len__(self) -> int:
        return len(self.group)


def fit_gate(cells: GateCells, *, data: str, level: float = LEVEL) -> GateFacts:
    """Fit a gate.

    All tests but the embedding's share one tail: their limits are quantiles of the cells of the fit, as tight as
    possible with no more than ``AIMED * (1 - EMBEDDING_PART) * level`` of the cells, and on average of a group's cells,
    beyond any of them, counted on groups that the quantiles were taken without. The embedding's limit is set likewise
    for its part of the level, but so that it holds for the worst of the groups held out: there are few of them, and
    what a network makes of a new patient differs more than pictures do.

    Args:
        cells: measured pictures.
        data: name of the data set, for the record.
        level: share of such cells that may be turned down, in (0, 1).

    Raises:
        DataError: the level is no share.
    """
    if not 0 < level < 1:
        raise DataError(f"a share of {level} of cells to turn down is not between 0 and 1")
    fold = _folds(cells.group)
    measured = {name: cells.values[:, k] for k, name in enumerate(MEASURES)}
    measured[STAIN_DISTANCE] = _crossed(
        fold, lambda rest, out: stain_distances(fit_stain(cells.stain[rest]), cells.stain[out])
    )
    reasons = [reason for reason, (measure, _) in TESTS.items() if measure != EMBEDDING_DISTANCE]
    limits = tightest(measured, reasons, cells.group, fold, (1 - EMBEDDING_PART) * AIMED * level)
    judged, embedding = np.ones(len(cells), dtype=np.bool_), _fit_embedding(cells, fold)
    if not isinstance(embedding, str):
        fit, measured[EMBEDDING_DISTANCE], judged = embedding
        aimed = EMBEDDING_PART * AIMED * level
        part = {EMBEDDING_DISTANCE: measured[EMBEDDING_DISTANCE][judged]}
        limits += tightest(
            part, ["foreign look"], cells.group[judged], np.zeros(judged.sum(), dtype=np.int64), aimed, worst=True
        )
    flags = {each.reason: beyond(measured[each.measure], each)[judged] for each in limits}
    return GateFacts(
        data=data,
        groups=_names(cells.group),
        groups_held_out=_names(cells.group[cells.held_out]),
        pictures=len(cells),
        level=level,
        turned_down=float(np.any(list(flags.values()), axis=0).mean()),
        by_reason={reason: float(found.mean()) for reason, found in flags.items() if found.any()},
        limits=limits,
        stain=fit_stain(cells.stain),
        embedding=None if isinstance(embedding, str) else fit,
        no_embedding=embedding if isinstance(embedding, str) else None,
    )


def _fit_embedding(cells: GateCells, fold: NDArray[np.int64]) -> tuple[EmbeddingFacts, Array, Flags] | str:
    """The embedding's fit, the distance of all cells, and which of them may set its limit; or why there is none.

    Cells of groups that the network was trained on are fitted and those held out set the limit. With too few of either,
    all do both, each measured by a fit without its group.
    """
    if _enough(cells, ~cells.held_out) and _enough(cells, cells.held_out):
        fit = fit_embedding(cells.embedding[~cells.held_out])
        return fit if isinstance(fit, str) else (fit, embedding_distances(fit, cells.embedding), cells.held_out)
    fit = fit_embedding(cells.embedding)
    if isinstance(fit, str):
        return fit

    def distances(rest: Flags, out: Flags) -> Array:
        without = fit_embedding(cells.embedding[rest])
        return embedding_distances(fit if isinstance(without, str) else without, cells.embedding[out])

    return fit, _crossed(fold, distances), np.ones(len(cells), dtype=np.bool_)


def _enough(cells: GateCells, part: Flags) -> bool:
    return bool(part.sum() >= ENOUGH_CELLS and len(np.unique(cells.group[part])) >= 2)


def _folds(group: NDArray[np.str_]) -> NDArray[np.int64]:
    """Fold of each cell, [N]: whole groups, the largest dealt out first, each to the fold with the fewest cells."""
    _, unit, size = np.unique(group, return_inverse=True, return_counts=True)
    fold = np.empty(len(size), dtype=np.int64)
    filled = np.zeros(min(FOLDS, len(size)))
    for each in np.argsort(-size, kind="stable"):
        fold[each] = int(filled.argmin())
        filled[fold[each]] += size[each]
    return fold[unit]


def _crossed(fold: NDArray[np.int64], distances: Callable[[Flags, Flags], Array]) -> Array:
    """Distances of all cells, each by a fit on the other folds."""
    result = np.empty(len(fold))
    for left in np.unique(fold):
        result[fold == left] = distances(fold != left, fold == left)
    return result


def _names(group: NDArray[np.str_]) -> list[str]:
    return sorted(np.unique(group).tolist(), key=natural)
