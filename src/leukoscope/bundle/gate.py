"""Whether a bundle judges a picture at all: its facts, the rule, and what it promises in sentences."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.datasets.known_sets import known_sets
from leukoscope.datasets.patients import Patients
from leukoscope.errors import BundleError

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Literal["low", "high"]
STAIN_NUMBERS = 9


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Packed(_Facts):
    """An array of numbers as text: base64 of little-endian float32, row after row."""

    shape: list[Annotated[int, Field(ge=1, le=65536)]]
    float32: str

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Pack an array, float [...]."""
        content = np.ascontiguousarray(values, dtype="<f4").tobytes()
        return cls(shape=list(values.shape), float32=base64.b64encode(content).decode("ascii"))

    def array(self) -> NDArray[np.float64]:
        """The array, float64 of ``shape``."""
        content = base64.b64decode(self.float32, validate=True)
        return np.frombuffer(content, "<f4").reshape(self.shape).astype(np.float64)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            values = self.array()
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"the packed numbers do not have the shape {self.shape}") from error
        if not np.isfinite(values).all():
            raise ValueError("a packed number is not finite")
        return self


class LimitFacts(_Facts):
    """A picture is referred for ``reason`` where ``measure`` is below (`low`) or above (`high`) ``limit``."""

    reason: str
    measure: str
    side: Side
    limit: Finite
    middle: Finite  # median among the cells of the fit

    @model_validator(mode="after")
    def _beyond_middle(self) -> Self:
        if not (self.limit < self.middle if self.side == "low" else self.limit > self.middle):
            raise ValueError(f"the limit of {self.measure} is not on the {self.side} side of its middle")
        return self


class StainFacts(_Facts):
    """The stain of the cells of the fit: distance is the length of ``whitening (x - mean)``, a Mahalanobis distance."""

    mean: Annotated[list[Finite], Field(min_length=STAIN_NUMBERS, max_length=STAIN_NUMBERS)]
    whitening: list[list[Finite]]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if np.shape(self.whitening) != (STAIN_NUMBERS, STAIN_NUMBERS):
            raise ValueError(f"the whitening of the stain must be {STAIN_NUMBERS} x {STAIN_NUMBERS}")
        return self


class EmbeddingFacts(_Facts):
    """The embedding of the cells of the fit as a Gaussian: K axes of their own variance, all others of one variance.

    Distance of x: with ``r = x - mean`` and ``z = axes r``,
    ``sqrt(sum(z_k^2 / variances_k) + (|r|^2 - |z|^2) / rest)``, a Mahalanobis distance.
    """

    mean: Packed  # [E]
    axes: Packed  # [K, E], orthonormal rows
    variances: list[Positive]  # [K]
    rest: Positive

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if len(self.mean.shape) != 1 or self.axes.shape != [len(self.variances), *self.mean.shape]:
            raise ValueError("mean, axes and variances of the embedding do not fit together")
        return self

    @property
    def size(self) -> int:
        """Numbers in an embedding."""
        return self.mean.shape[0]


class GateFacts(_Facts):
    """Which pictures the bundle judges; see `leukoscope.bundle.gate`."""

    data: str
    groups: list[str]  # patient groups of the fit
    groups_held_out: list[str]  # those that no weight of the network was trained on; they set the embedding's limit
    pictures: int
    level: Share  # share of such cells to be referred at most
    turned_down: Share  # of the pictures of the groups held out, or of all where none is
    by_reason: dict[str, Share] = {}
    sides: list[int] | None = None  # pixels: longer sides of the pictures of the fit; None: many, or not noted
    limits: list[LimitFacts]
    stain: StainFacts
    embedding: EmbeddingFacts | None  # None: the network's embedding varies too little to tell anything
    no_embedding: str | None = None  # why there is none

    @property
    def known_sides(self) -> frozenset[int]:
        """Sizes of pictures of one cell on black whose scale is that of the training cells; empty: any is taken."""
        published = known_sets().get(self.data)
        return (published.sides if published else frozenset()) | frozenset(self.sides or ())


UNKNOWN_SCALE: Final = "unknown scale"
SWAPPED: Final = "swapped channels"
#: The numbers of a stain (`cells.stain.STAIN_NAMES`) as they would be with red and blue swapped.
_SWAP: Final = np.array([2, 1, 0, 5, 4, 3, 8, 7, 6])
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
        self,
        values: Mapping[str, float],
        stain: NDArray[np.float64],
        embedding: NDArray[np.floating],
        side: int | None = None,
    ) -> Verdict:
        """Judge one picture.

        Args:
            values: by the names of `leukoscope.cells.quality.MEASURES`.
            stain: float64 [9], from the same measurement.
            embedding: float [E], of the graph.
            side: longer side in pixels of a picture of one cell on black, which alone tells its scale; None: known.

        Raises:
            BundleError: the embedding has another size than the gate was fitted on.
        """
        mean, whitening = self._stain
        measured = {**values, STAIN_DISTANCE: float(np.linalg.norm(whitening @ (stain - mean)))}
        if self._embedding is not None:
            measured[EMBEDDING_DISTANCE] = float(self._embedding.distances(embedding[None])[0])
        verdict = judge(measured, self.facts.limits)
        # Blood stains have an order of channels: of 600 cells of C-NMC 2019 none is nearer to the training cells with
        # red and blue swapped, and all of them are once they were swapped, though 70 % then pass the limit of stains.
        swapped = float(np.linalg.norm(whitening @ (stain[_SWAP] - mean)))
        usual = next((each.limit for each in self.facts.limits if each.measure == STAIN_DISTANCE), math.inf)
        if swapped < measured[STAIN_DISTANCE] and swapped <= usual:  # beyond, the stain is foreign either way
            ratio = measured[STAIN_DISTANCE] / max(swapped, 1e-9)
            verdict = Verdict(
                (Finding(SWAPPED, "channel_order", ratio, 1.0), *verdict.findings), max(verdict.score, ratio)
            )
        known = self.facts.known_sides
        if side is None or not known or side in known:
            return verdict
        nearest = min(known, key=lambda each: abs(each - side))
        resized = Finding(UNKNOWN_SCALE, "side", float(side), float(nearest))
        return Verdict((resized, *verdict.findings), max(verdict.score, 1 + abs(math.log2(side / nearest))))


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


NOT_CHECKED = "Picture quality is not checked: every readable picture gets an answer, whatever it shows."


def gate_claim(gate: GateFacts | None) -> str:
    """Which pictures are referred, and on what that was fitted.

    >>> gate_claim(None) == NOT_CHECKED
    True
    """
    if gate is None:
        return NOT_CHECKED
    where = f"{gate.pictures:,} pictures of {Patients.of(gate.groups).words()} of {gate.data}"
    looks = (
        f"The network's embedding is not compared: {gate.no_embedding}."
        if gate.embedding is None
        else "What the network sees is compared with them too"
        + (
            f", its limit set on those of {Patients.of(gate.groups_held_out).words()} that no weight was trained on."
            if gate.groups_held_out
            else "; no group was held out for its limit, so it may refer more."
        )
    )
    return (
        f"Pictures unlike those of the fit are referred, with the reason: limits of size, outline, sharpness, exposure "
        f"and stain are fitted on {where}. {looks} {100 * gate.turned_down:.1f} % of those are "
        f"referred; the aim for new patients is at most {100 * gate.level:.3g} %."
    )
