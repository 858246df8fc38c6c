"""Fitting a gate: the limits beyond which a picture is unlike those that a network learned from.

Everything is fitted on whole patient groups. What is measured of the pictures does not depend on the network, so all
groups serve; the network's embedding is tighter on the groups that it was trained on, so only groups that it has not
seen set the embedding's limit. Stain distances are cross-fitted: each group is measured by a fit without it.

The limits of all tests lie at the same tail of the cells of the fit, as tight as a total share allows. The distances of
stain and embedding are Mahalanobis distances (K. Lee, K. Lee, H. Lee & J. Shin 2018, "A simple unified framework for
detecting out-of-distribution samples and adversarial attacks", NeurIPS), of all cells together, not by class: the gate
asks whether a cell is of the kind that was learned, not which of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import (
    EMBEDDING_DISTANCE,
    STAIN_DISTANCE,
    TESTS,
    EmbeddingFacts,
    GateFacts,
    LimitFacts,
    Packed,
    StainFacts,
    embedding_distances,
    stain_distances,
)
from leukoscope.cells.quality import MEASURES
from leukoscope.errors import DataError, missing_extra
from leukoscope.fitting.folds import clearly_lower, even_folds
from leukoscope.text import natural

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_TAILS: Final = np.geomspace(
    0.1, 1e-5, 300
)  # shares of cells beyond one limit that are tried, the tightest limit first
_FEW_SIDES: Final = 3  # sizes of pictures that a set of one scale may have
FEW_CELLS: Final = 20  # a group with fewer has no voice of its own

#: A limit lies at least so far from the middle: smaller deviations do not matter, however alike the cells of the fit.
LEAST: Final[Mapping[str, float]] = MappingProxyType(
    {
        "diameter": 10.0,
        "solidity": 0.03,
        "straight_edge": 0.1,
        "on_border": 0.1,
        "second_object": 0.1,
        "second_body": 0.1,
        "sharpness": 0.2,
        "contrast": 3.0,
        "brightness": 5.0,
        "clipped": 0.02,
        "nuclear_stain": 0.05,
        STAIN_DISTANCE: 1.0,
        EMBEDDING_DISTANCE: 1.0,
    }
)


def limit_at(reason: str, values: Array, tail: float) -> LimitFacts:
    """The limit of a test that leaves the share ``tail`` of values beyond it, or less where `LEAST` demands.

    Args:
        reason: a key of `leukoscope.bundle.gate.TESTS`.
        values: float64 [N], finite, of the cells of the fit.
        tail: in [0, 1].
    """
    measure, side = TESTS[reason]
    middle = float(np.median(values))
    (limit,) = _bounds(reason, values, np.array([tail]))
    return LimitFacts(reason=reason, measure=measure, side=side, limit=float(limit), middle=middle)


def beyond(values: Array, limit: LimitFacts) -> Flags:
    """Which values are beyond a limit, bool [N]."""
    return np.asarray(values < limit.limit if limit.side == "low" else values > limit.limit)


def tightest(
    measured: Mapping[str, Array],
    reasons: Sequence[str],
    group: NDArray[np.str_],
    fold: NDArray[np.int64],
    aimed: float,
    *,
    worst: bool = False,
) -> list[LimitFacts]:
    """Limits at the widest common tail that leaves no larger share than ``aimed`` beyond any of them.

    Which share a tail leaves is counted on groups that its limits were fitted without: patients differ in brightness,
    stain and size, so limits look better on the groups that they come from.

    Args:
        measured: float64 [N] by measure.
        reasons: the tests.
        group: str [N], the patient group.
        fold: int64 [N], whole groups; one fold alone is judged by its own limits.
        aimed: holds for `turned_down`, in (0, 1).
        worst: see there.
    """
    parts = [(fold != left, fold == left) for left in np.unique(fold)]
    if len(parts) == 1:
        parts = [(parts[0][1], parts[0][1])]
    tests = [(measured[TESTS[reason][0]], TESTS[reason][1], reason) for reason in reasons]
    bounds = [[_bounds(reason, values[fit], _TAILS) for values, _, reason in tests] for fit, _ in parts]
    chosen = 0.0
    for k, tail in enumerate(_TAILS.tolist()):
        flags = np.zeros(len(group), dtype=np.bool_)
        for (_, out), limits in zip(parts, bounds, strict=True):
            for (values, side, _), limit in zip(tests, limits, strict=True):
                flags[out] |= values[out] < limit[k] if side == "low" else values[out] > limit[k]
        if turned_down(flags, group, worst=worst) <= aimed:
            chosen = tail
            break
    return [limit_at(reason, values, chosen) for values, _, reason in tests]


def _bounds(reason: str, values: Array, tails: Array) -> Array:
    """The limit of a test at each of several tails, float64 [T]."""
    measure, side = TESTS[reason]
    middle = float(np.median(values))
    if side == "low":
        return np.minimum(np.quantile(values, tails), middle - LEAST[measure])
    return np.maximum(np.quantile(values, 1 - tails), middle + LEAST[measure])


def turned_down(flags: Flags, group: NDArray[np.str_], *, worst: bool = False) -> float:
    """Share of flagged cells, or of those of a group, whichever is larger; groups of `FEW_CELLS` or more have a voice.

    Args:
        flags: bool [N].
        group: str [N].
        worst: the group with the largest share counts, instead of the mean over groups.
    """
    _, unit, size = np.unique(group, return_inverse=True, return_counts=True)
    shares = np.bincount(unit, weights=flags) / size
    large = size >= FEW_CELLS
    if not large.any():
        return float(flags.mean())
    return max(float(flags.mean()), float(shares[large].max() if worst else shares[large].mean()))


AXES = 32  # of the embedding that keep their own variance
CELLS_PER_AXIS = 8  # of the fit; with fewer cells, fewer axes
_FLAT = 1e-6  # of the largest variance: less is rounding
_LEAST_SD = 0.02  # of the stain's numbers: cells of one picture alone still leave some room


def fit_stain(stain: Array) -> StainFacts:
    """Fit the stain of cells.

    Each number is brought to unit spread first, so that shrinkage treats densities, logarithms and correlations alike
    (O. Ledoit & M. Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", J Multivar Anal
    88, 365-411).

    Args:
        stain: float64 [N, 9] from `leukoscope.cells.stain.stain_statistics`.
    """
    try:
        from sklearn.covariance import ledoit_wolf  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise missing_extra("fitting a gate", "train") from error

    spread = np.maximum(stain.std(axis=0), _LEAST_SD)
    covariance, _ = ledoit_wolf(stain / spread)
    covariance += 1e-3 * np.eye(len(covariance))  # numbers that do not vary at all have no inverse
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)) / spread
    return StainFacts(mean=stain.mean(axis=0).tolist(), whitening=whitening.tolist())


def fit_embedding(embedding: Array) -> EmbeddingFacts | str:
    """Fit the embedding by probabilistic principal components.

    The K axes of largest variance keep it; all others share the mean of theirs (M. Tipping & C. Bishop 1999,
    "Probabilistic principal component analysis", J R Stat Soc B 61, 611-622, eq. 7 and 8).

    Args:
        embedding: float64 [N, E], finite.

    Returns:
        The fit, or why there can be none.
    """
    count, size = embedding.shape
    kept = min(AXES, size - 1, count // CELLS_PER_AXIS)
    if kept < 1:
        return f"an embedding of {size} numbers of {count} cells is too small"
    mean = embedding.mean(axis=0)
    rest = embedding - mean
    variances, axes = np.linalg.eigh(rest.T @ rest / (count - 1))
    variances, axes = variances[::-1], axes[:, ::-1].T
    if not variances[0] > 0:
        return "the network's embedding is the same for all cells"
    floor = _FLAT * variances[0]
    return EmbeddingFacts(
        mean=Packed.of(mean),
        axes=Packed.of(axes[:kept]),
        variances=np.maximum(variances[:kept], floor).tolist(),
        rest=float(max(variances[kept:].mean(), floor)),
    )


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
        side: int64 [N], longer side of the picture in pixels; None: not noted.

    Raises:
        DataError: fewer than 20 pictures, one group, or a number that is not finite.
    """

    values: Array
    stain: Array
    embedding: Array
    group: NDArray[np.str_]
    held_out: Flags
    side: NDArray[np.int64] | None = None

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

    def take(self, rows: Flags) -> GateCells:
        """Those of some rows, bool [N]."""
        side = None if self.side is None else self.side[rows]
        return GateCells(
            self.values[rows], self.stain[rows], self.embedding[rows], self.group[rows], self.held_out[rows], side
        )


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
        raise DataError(f"a share of {level} of cells to refer is not between 0 and 1")
    fold = even_folds(cells.group, FOLDS)
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
        sides=_sides(cells),
        limits=limits,
        stain=fit_stain(cells.stain),
        embedding=None if isinstance(embedding, str) else fit,
        no_embedding=embedding if isinstance(embedding, str) else None,
    )


def _sides(cells: GateCells) -> list[int] | None:
    """The sizes of the pictures, where they are few: a set of one scale; None where they are many and tell nothing."""
    found = [] if cells.side is None else np.unique(cells.side).tolist()
    return found if 0 < len(found) <= _FEW_SIDES else None


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


def _crossed(fold: NDArray[np.int64], distances: Callable[[Flags, Flags], Array]) -> Array:
    """Distances of all cells, each by a fit on the other folds."""
    result = np.empty(len(fold))
    for left in np.unique(fold):
        result[fold == left] = distances(fold != left, fold == left)
    return result


def _names(group: NDArray[np.str_]) -> list[str]:
    return sorted(np.unique(group).tolist(), key=natural)


def flagged(facts: GateFacts, cells: GateCells) -> Flags:
    """Which measured pictures a gate turns down, bool [N], whatever their side and their order of channels."""
    measured = {name: cells.values[:, k] for k, name in enumerate(MEASURES)}
    measured[STAIN_DISTANCE] = stain_distances(facts.stain, cells.stain)
    if facts.embedding is not None:
        measured[EMBEDDING_DISTANCE] = embedding_distances(facts.embedding, cells.embedding)
    return np.asarray(np.any([beyond(measured[each.measure], each) for each in facts.limits], axis=0))


@dataclass(frozen=True, slots=True)
class GateChoice:
    """A gate fitted to other cells, and what it does on those left out of its fit.

    Attributes:
        gate: the new one; None where the old one stays.
        before: share of the cells that the old one turns down; None where there is none.
        after: share that gates fitted without the cell turn down.
        why: why the old one stays; None where it does not.
    """

    gate: GateFacts | None
    before: float | None
    after: float | None
    why: str | None


def choose_gate(old: GateFacts | None, cells: GateCells, *, data: str) -> GateChoice:
    """Fit a gate to other cells, and take it where it clearly turns down fewer of those left out of its fit.

    Args:
        old: the bundle's.
        cells: of another laboratory, none of which any weight was trained on.
        data: its name.

    Raises:
        DataError: see `GateCells`.
    """
    fold = even_folds(cells.group, FOLDS)
    flags = np.zeros(len(cells), dtype=np.bool_)
    before = None if old is None else flagged(old, cells)
    share = None if before is None else float(before.mean())
    for left in np.unique(fold):
        out = fold == left
        try:
            flags[out] = flagged(fit_gate(cells.take(~out), data=data), cells)[out]
        except DataError as error:
            return GateChoice(None, share, None, error.what)
    after = float(flags.mean())
    if before is not None:
        lost = (np.bincount(fold, weights=each).astype(np.float64) for each in (flags, before))
        if not clearly_lower(*lost):
            return GateChoice(None, share, after, "it does not clearly refer fewer of the cells left out")
    return GateChoice(fit_gate(cells, data=data), share, after, None)
