"""One round of training over sites, as pure functions: which answers count, and what they come to together.

A local round is weights or sums with the number of patients behind them. Weights are averaged by patients (McMahan et
al. 2017); the running statistics of batch normalisation are pooled as sums, as if all cells had been seen at one place,
or stay where they are (X. Li et al., FedBN, 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.federation.parcel import Parcel

Weights = Mapping[str, NDArray[Any]]
_MEAN, _VARIANCE, _COUNT = ".running_mean", ".running_var", ".num_batches_tracked"
STATISTICS: Final = (_MEAN, _VARIANCE, _COUNT)


@dataclass(frozen=True, slots=True, eq=False)
class LocalRound:
    """What one site made of a round.

    Attributes:
        weights: by name: a network's, or sums.
        patients: how many patients they come from.
        metrics: figures of the site's own cells.
    """

    weights: Weights
    patients: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A site whose answer does not count, and why."""

    site: str
    why: str


def combine(
    rounds: Sequence[LocalRound], *, batch_norm: Literal["pooled", "local"] = "pooled"
) -> dict[str, NDArray[Any]]:
    """Mean weights, each site by its patients.

    Args:
        rounds: of one network, at least one with a patient.
        batch_norm: ``pooled``: means and variances are those of all sites' batches together; ``local``: they are left
            out, as are the counts of batches.

    Raises:
        DataError: no round, no patient, other names or shapes, or a number that is none.
    """
    total = sum(each.patients for each in rounds)
    if total <= 0:
        raise DataError("no patient stands behind the rounds to combine", remedy="give rounds of sites with patients")
    first = rounds[0].weights
    for each in rounds:
        if why := _unlike(each.weights, first) or _not_numbers(each.weights):
            raise DataError(f"a round {why}", remedy="leave it out")
    shares = [each.patients / total for each in rounds]

    def mean(name: str) -> NDArray[np.float64]:
        return np.asarray(
            sum(s * each.weights[name].astype(np.float64) for s, each in zip(shares, rounds, strict=True))
        )

    found: dict[str, NDArray[Any]] = {}
    for name, like in first.items():
        if name.endswith(STATISTICS):
            if batch_norm == "local":
                continue
            if name.endswith(_COUNT):
                found[name] = np.max([each.weights[name] for each in rounds], axis=0)
                continue
        value = mean(name)
        if name.endswith(_VARIANCE):  # within the sites, and between their means
            about = name.removesuffix(_VARIANCE) + _MEAN
            middle = mean(about)
            value = value + sum(
                share * (each.weights[about] - middle) ** 2 for share, each in zip(shares, rounds, strict=True)
            )
        found[name] = value.astype(like.dtype)
    return found


def accepted(
    parcels: Sequence[Parcel],
    *,
    round_: int,
    base: str,
    model: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    trust: Mapping[str, str] | None = None,
) -> tuple[list[Parcel], list[Refusal]]:
    """Which of the sites' answers count.

    Args:
        parcels: read and checked by themselves (`Parcel.from_bytes`).
        round_: that is due.
        base: digest of the state that they must answer.
        model: digest of the bundle that all have agreed on.
        shapes: that the arrays must have, by name; None: those of most of the parcels.
        trust: public key by site; None: any key is taken, but each only once.

    Returns:
        Those that count, by the sites' names, and the others with the reason.
    """
    kept: dict[str, Parcel] = {}
    refused: list[Refusal] = []
    keys: set[str] = set()
    likes = [{name: each.shape for name, each in parcel.arrays.items()} for parcel in parcels]
    wanted = shapes if shapes is not None else max(likes, key=likes.count, default={})
    for parcel, like in zip(parcels, likes, strict=True):
        head = parcel.head
        why = None
        if trust is not None and head.sender not in trust:
            why = "has no trusted key"
        elif trust is not None and trust[head.sender] != head.key:
            why = "is signed with another key than the trusted one: forged, or the key was changed"
        elif head.model != model:
            why = f"is of another bundle ({head.model[:12]} for {model[:12]})"
        elif head.round != round_ or head.base != base:
            why = f"is stale: it answers round {head.round}, state {head.base[:12] or 'none'}, not round {round_}"
        elif head.sender in kept or head.key in keys:
            why = "is sent twice"
        elif like != dict(wanted):
            why = "has other arrays than were asked for"
        else:
            why = _not_numbers(parcel.arrays)
            if why is None and (head.patients < 1 or head.cells < 1):
                why = "has no patient or no cell behind it"
        if why is None:
            kept[head.sender] = parcel
            keys.add(head.key)
        else:
            refused.append(Refusal(head.sender, why))
    return [kept[name] for name in sorted(kept)], refused


def _not_numbers(weights: Weights) -> str | None:
    wrong = [name for name, each in weights.items() if not np.isfinite(each).all()]
    return f"holds what is no number (NaN or infinite) in {wrong[0]}" if wrong else None


def _unlike(weights: Weights, first: Weights) -> str | None:
    if {name: each.shape for name, each in weights.items()} != {name: each.shape for name, each in first.items()}:
        return "has weights of other names or shapes than the first"
    return None
