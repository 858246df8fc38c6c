"""Whether a bundle judges a picture at all: the one place that turns measurements into reasons not to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate_facts import EmbeddingFacts, GateFacts, LimitFacts, Side, StainFacts
from leukoscope.errors import BundleError

STAIN_DISTANCE: Final = "stain_distance"
EMBEDDING_DISTANCE: Final = "embedding_distance"

#: For each reason, the measure that tells it and the side on which it lies. The order is that of the lists.
TESTS: Final[Mapping[str, tuple[str, Side]]] = MappingProxyType(
    {
        "too small": ("diameter", "low"),
        "too large": ("diameter", "high"),
        "ragged": ("solidity", "low"),
        "cut straight": ("straight_edge", "high"),
        "cut by the border": ("on_border", "high"),
        "second object": ("second_object", "high"),
        "two bodies": ("second_body", "high"),
        "blurred": ("sharpness", "low"),
        "noisy": ("sharpness", "high"),
        "flat": ("contrast", "low"),
        "harsh": ("contrast", "high"),
        "too dark": ("brightness", "low"),
        "too bright": ("brightness", "high"),
        "clipped": ("clipped", "high"),
        "no nucleus": ("nuclear_stain", "low"),
        "foreign stain": (STAIN_DISTANCE, "high"),
        "foreign look": (EMBEDDING_DISTANCE, "high"),
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to turn a picture down.

    Attributes:
        reason: a key of `TESTS`.
        measure: what tells it.
        value: as measured; None where it is not finite.
        limit: that it lies beyond.
    """

    reason: str
    measure: str
    value: float | None
    limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one picture.

    Attributes:
        findings: reasons to turn it down, the farthest beyond its limit first; empty: it may be judged.
        score: distance of the farthest measure from its middle, where 1 is its limit: above 1 is turned down.
    """

    findings: tuple[Finding, ...]
    score: float


class Gate:
    """A bundle's gate, ready to be asked. May be shared by threads.

    Args:
        facts: of the bundle.
    """

    def __init__(self, facts: GateFacts) -> None:
        self.facts = facts

    @cached_property
    def _stain(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _stain_arrays(self.facts.stain)

    @cached_property
    def _embedding(self) -> _Gaussian | None:
        return None if self.facts.embedding is None else _Gaussian.of(self.facts.embedding)

    def check(
        self, values: Mapping[str, float], stain: NDArray[np.float64], embedding: NDArray[np.floating]
    ) -> Verdict:
        """Judge one picture.

        Args:
            values: by the names of `leukoscope.cells.quality.MEASURES`.
            stain: float64 [9], from the same measurement.
            embedding: float [E], of the graph.

        Raises:
            BundleError: the embedding has another size than the gate was fitted on.
        """
        mean, whitening = self._stain
        measured = {**values, STAIN_DISTANCE: float(np.linalg.norm(whitening @ (stain - mean)))}
        if self._embedding is not None:
            measured[EMBEDDING_DISTANCE] = float(self._embedding.distances(embedding[None])[0])
        return judge(measured, self.facts.limits)


def judge(measured: Mapping[str, float], limits: Iterable[LimitFacts]) -> Verdict:
    """Compare measurements with their limits; a measurement that is not finite is beyond its limit.

    Raises:
        KeyError: a limit's measure was not measured.
    """
    found: list[tuple[float, Finding]] = []
    score = 0.0
    for each in limits:
        value = measured[each.measure]
        excess = excess_of(value, each)
        score = max(score, excess)
        if excess > 1:
            known = float(value) if math.isfinite(value) else None
            found.append((excess, Finding(each.reason, each.measure, known, each.limit)))
    found.sort(key=lambda pair: -pair[0])  # stable: ties in the order of the tests
    return Verdict(tuple(finding for _, finding in found), score)


def excess_of(value: float, limit: LimitFacts) -> float:
    """How far from the middle, with the limit at 1; negative on the other side; infinite where not a finite number.

    >>> limit = LimitFacts(reason="too small", measure="diameter", side="low", limit=100, middle=200)
    >>> excess_of(150, limit), excess_of(50, limit), excess_of(float("nan"), limit)
    (0.5, 1.5, inf)
    """
    if not math.isfinite(value):
        return math.inf
    return (value - limit.middle) / (limit.limit - limit.middle)


def stain_distances(facts: StainFacts, stain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mahalanobis distance of the stain of many pictures, float64 [N, 9] to [N]."""
    mean, whitening = _stain_arrays(facts)
    return np.asarray(np.linalg.norm((stain - mean) @ whitening.T, axis=1))


def embedding_distances(facts: EmbeddingFacts, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mahalanobis distance of many embeddings, float [N, E] to float64 [N].

    Raises:
        BundleError: the embeddings have another size than the gate was fitted on.
    """
    return _Gaussian.of(facts).distances(embeddings)


def _stain_arrays(facts: StainFacts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(facts.mean), np.array(facts.whitening)


@dataclass(frozen=True, slots=True)
class _Gaussian:
    """`EmbeddingFacts`, unpacked."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]
    rest: float

    @classmethod
    def of(cls, facts: EmbeddingFacts) -> _Gaussian:
        return cls(facts.mean.array(), facts.axes.array(), np.array(facts.variances), facts.rest)

    def distances(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        if embeddings.shape[1:] != self.mean.shape:
            raise BundleError(
                f"the gate was fitted on embeddings of {len(self.mean)} numbers, but the graph gives "
                f"{embeddings.shape[-1]}",
                remedy="fit it again with `leukoscope calibrate --gate`",
            )
        rest = embeddings.astype(np.float64) - self.mean
        along = rest @ self.axes.T
        beside = np.maximum(np.sum(rest**2, axis=1) - np.sum(along**2, axis=1), 0)
        return np.asarray(np.sqrt(np.sum(along**2 / self.variances, axis=1) + beside / self.rest))
