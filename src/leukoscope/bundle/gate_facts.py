"""The part of `bundle.json` that says which pictures the bundle judges: limits, stain, embedding, and their origin."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Literal["low", "high"]
STAIN_NUMBERS = 9


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """A picture is turned down for ``reason`` where ``measure`` is below (`low`) or above (`high`) ``limit``."""

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
    level: Share  # share of such cells to be turned down at most
    turned_down: Share  # of the pictures of the groups held out, or of all where none is
    by_reason: dict[str, Share] = {}
    limits: list[LimitFacts]
    stain: StainFacts
    embedding: EmbeddingFacts | None  # None: the network's embedding varies too little to tell anything
    no_embedding: str | None = None  # why there is none
