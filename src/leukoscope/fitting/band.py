"""How far down a cell may still be called normal, so that few blasts are: bands with a promise that can be kept.

Two promises, never to be mixed up:

- **For new patients**: conformal risk control (A. Angelopoulos, S. Bates, A. Fisch, L. Lei, T. Schuster: Conformal risk
  control, ICLR 2024). The loss of a patient group is the share of its blasts below the limit; it rises with the limit
  and is at most 1. If n groups with mean loss R were drawn like the next one, the expected loss of the next one is at
  most (n R + 1) / (n + 1). So n groups allow no level below 1 / (n + 1), however good the model is.
- **For the same patients**: an exact binomial bound (C. Clopper, E. Pearson, 1934) on the share of blasts below the
  limit, found by testing limits from below until one fails, which keeps the confidence (A. Angelopoulos, S. Bates, E.
  Candes, M. Jordan, L. Lei: Learn then test, 2021). It takes each blast as drawn alone from those patients' blasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.patients import Patients
from leukoscope.errors import DataError
from leukoscope.metrics.counts import Array

LEVEL = 0.01
CONFIDENCE = 0.95
_SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class Limit:
    """Below ``logit`` a cell may be called normal.

    ``missed``: share of the calibration blasts below it, mean over groups (new patients) or over blasts (same
    patients). ``smallest_level`` and ``groups_needed``: see the functions of these names.
    """

    logit: float
    guarantee: Literal["new patients", "same patients"]
    missed: float
    groups: int
    blasts: int
    smallest_level: float
    groups_needed: int


def smallest_level(groups: int) -> float:
    """Lowest level that conformal risk control can promise for new patients with so many groups.

    >>> smallest_level(4), smallest_level(99)
    (0.2, 0.01)
    """
    return 1 / (groups + 1)


def groups_needed(level: float) -> int:
    """How many groups with blasts it takes at least to promise ``level`` for new patients.

    >>> groups_needed(0.01), groups_needed(0.2)
    (99, 4)
    """
    return max(1, math.ceil(1 / level - 1 - 1e-9))


def blasts_needed(level: float, confidence: float = CONFIDENCE) -> int:
    """How many blasts it takes at least to promise ``level`` for the same patients.

    >>> blasts_needed(0.01)
    299
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-level) - 1e-9)


def limit_for_new_patients(logit: Array, group: NDArray[np.str_], level: float) -> float | None:
    """Largest limit of conformal risk control, infinite where all keep the level; None where none does.

    Args:
        logit: of the blasts, float64 [N].
        group: their patient groups [N]: the units that are exchangeable with the next patient.
        level: bound on the expected share of the next patient's blasts below the limit.
    """
    _, unit, size = np.unique(group, return_inverse=True, return_counts=True)
    if smallest_level(len(size)) > level + _SLACK:
        return None
    order = np.argsort(logit, kind="stable")
    at, first = np.unique(logit[order], return_index=True)
    below = np.concatenate([[0.0], np.cumsum((1 / size[unit] / len(size))[order])])[np.append(first, len(logit))]
    bound = (len(size) * below + 1) / (len(size) + 1)
    last = int(np.flatnonzero(bound <= level + _SLACK)[-1])
    return float(np.append(at, np.inf)[last])


def limit_for_same_patients(logit: Array, level: float, confidence: float) -> float | None:
    """Largest limit below which, with ``confidence``, at most ``level`` of blasts lie; None with too few blasts.

    Args:
        logit: of the blasts, float64 [N], drawn alike and apart.
        level: bound on the share of all blasts below the limit.
        confidence: chance that the bound holds.
    """
    allowed = _successes(len(logit), level, 1 - confidence)
    return None if allowed is None else float(np.sort(logit)[allowed])


def find_limit(
    logit: Array,
    group: NDArray[np.str_],
    *,
    level: float = LEVEL,
    confidence: float = CONFIDENCE,
    at_most: float = math.inf,
) -> Limit | str:
    """The limit for new patients if groups are known and enough, else the one for the same patients, else why none.

    Args:
        logit: of the calibration blasts, float64 [N].
        group: their patient groups [N]; of a cell whose patient is not known, one of its own (``Manifest.groups``).
        level: share of blasts below the limit that is tolerated, in (0, 1).
        confidence: of the promise for the same patients, in (0, 1).
        at_most: a limit above this logit is lowered to it, which keeps every promise.

    Raises:
        DataError: no blasts, or level or confidence are not in (0, 1).
    """
    if not (0 < level < 1 and 0 < confidence < 1):
        raise DataError(f"level {level} and confidence {confidence} must lie between 0 and 1")
    if not len(logit):
        raise DataError("a band needs blasts to be set on", remedy="add cells of patients with leukemia")
    patients = Patients.of(group)
    groups = patients.count
    facts = (groups, len(logit), smallest_level(groups), groups_needed(level))
    # Cells whose patients are not known are not the units that the next patient is exchangeable with.
    limit = limit_for_new_patients(logit, group, level) if patients.all_known else None
    if limit is not None:
        limit = min(limit, at_most)
        return Limit(
            limit,
            "new patients",
            float((logit < limit) @ (1 / np.bincount(patients.unit)[patients.unit])) / groups,
            *facts,
        )
    limit = limit_for_same_patients(logit, level, confidence)
    if limit is not None:
        limit = min(limit, at_most)
        return Limit(limit, "same patients", float((logit < limit).mean()), *facts)
    return (
        f"{len(logit)} blasts of {patients.words()} are too few to set a band for {100 * level:.3g} % of blasts "
        f"called normal; {groups_needed(level)} groups with blasts would promise it for new patients, "
        f"{blasts_needed(level, confidence)} blasts for the same ones"
    )


def _successes(n: int, level: float, tolerance: float) -> int | None:
    """Largest k with P(Binomial(n, level) <= k) <= tolerance; None if even k = 0 is too likely. Always below n."""
    total, k = 0.0, -1
    while k + 1 < n:
        step = k + 1
        log_mass = math.lgamma(n + 1) - math.lgamma(step + 1) - math.lgamma(n - step + 1)
        total += math.exp(log_mass + step * math.log(level) + (n - step) * math.log1p(-level))
        if total > tolerance:
            break
        k = step
    return None if k < 0 else k
