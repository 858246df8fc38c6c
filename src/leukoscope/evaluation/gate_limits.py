"""Limits for many tests at once: each at the same tail of the cells of the fit, as tight as a total share allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import EMBEDDING_DISTANCE, STAIN_DISTANCE, TESTS
from leukoscope.bundle.gate_facts import LimitFacts

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_TAILS: Final = np.geomspace(
    0.1, 1e-5, 300
)  # shares of cells beyond one limit that are tried, the tightest limit first
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
