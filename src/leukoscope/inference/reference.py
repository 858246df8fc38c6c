"""Where a measurement lies among the normal and among the blast cells of a data set that was measured once for all."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np

from leukoscope.errors import LeukoscopeError

POINTS: Final = 101  # quantiles at 0 %, 1 %, ..., 100 %
CLASSES: Final = ("normal", "blast")
_SHIPPED: Final = "reference_cnmc2019.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """Percentiles of one value, 0 to 100: the share of reference cells of each class that lie below it, ties half."""

    normal: float
    blast: float


@dataclass(frozen=True, slots=True)
class Reference:
    """Quantiles of each measurement by class, each patient group with the same weight.

    Attributes:
        data: name of the data set.
        fingerprint: of its manifest.
        quantiles: by measurement and class, 101 rising numbers. A measurement that was defined in too few cells of
            a class is absent.
    """

    data: str
    fingerprint: str
    quantiles: Mapping[str, Mapping[str, tuple[float, ...]]]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `benchmarks/morphology.py` writes.

        Raises:
            LeukoscopeError: quantiles that are not 101 rising numbers.
        """
        table: dict[str, Mapping[str, tuple[float, ...]]] = {}
        for name, classes in content["measurements"].items():
            found = {kind: np.asarray(classes[kind]["quantiles"], np.float64) for kind in CLASSES if kind in classes}
            for values in found.values():
                if values.shape != (POINTS,) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
                    raise LeukoscopeError(f"the quantiles of {name} are not {POINTS} rising numbers")
            if len(found) == len(CLASSES):
                table[name] = MappingProxyType({kind: tuple(values.tolist()) for kind, values in found.items()})
        return cls(content["data"], content["fingerprint"], MappingProxyType(table))

    def standing(self, name: str, value: float) -> Standing | None:
        """Percentiles of a value; None where the reference does not hold this measurement."""
        if name not in self.quantiles:
            return None
        return Standing(*(percentile(self.quantiles[name][kind], value) for kind in CLASSES))


def percentile(quantiles: Sequence[float], value: float) -> float:
    """Percentile of a value, 0 to 100, by linear interpolation between quantiles; in the middle of ties.

    Args:
        quantiles: 101 rising numbers.
        value: finite.

    >>> percentile(range(101), 12.5), percentile([0.0] * 101, 0.0), percentile(range(101), -3)
    (12.5, 50.0, 0.0)
    """
    first, last = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if last > first:
        return (first + last - 1) / 2 * 100 / (POINTS - 1)
    if first in (0, POINTS):
        return 100.0 if first else 0.0
    below, above = quantiles[first - 1], quantiles[first]
    return float(first - 1 + (value - below) / (above - below)) * 100 / (POINTS - 1)


@cache
def shipped_reference() -> Reference:
    """The reference that comes with the package: cells of the C-NMC 2019 training set."""
    text = (resources.files("leukoscope.inference") / _SHIPPED).read_text(encoding="utf-8")
    return Reference.from_json(json.loads(text))
