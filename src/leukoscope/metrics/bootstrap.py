"""How sure a figure is: percentile intervals from a bootstrap over patient groups.

Pictures of one patient resemble each other, so they are no independent witnesses. The bootstrap therefore draws whole
patient groups with replacement and takes all pictures of a drawn group as they are (the cluster bootstrap: Field &
Welsh 2007, "Bootstrapping clustered data"); the 2.5 % and 97.5 % quantiles over the replicates are the interval (the
percentile interval: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13).

Groups are drawn within strata: those with blasts only, those with normal cells only, those with both. Each replicate
has as many groups of each kind as the data, so it holds both classes whenever the data do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic.dataclasses import dataclass as checked_dataclass

from leukoscope.datasets.patients import Patients
from leukoscope.metrics.counts import Array
from leukoscope.metrics.glossary import Needs

REPLICATES = 2000
LEVEL = 0.95
FEW_GROUPS = 10  # below this the percentile interval is known to be too narrow (Cameron, Gelbach & Miller 2008)
_STRATA = ("blast-only", "normal-only", "mixed")
_BLOCK = 1 << 20  # weights held at once: 8 MiB, and a metric makes a few copies

Statistic = Callable[[Array], Array]

Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    AfterValidator(lambda value: math.nan if math.isnan(value) else value),  # one NaN: what is alike compares equal
    PlainSerializer(lambda value: None if math.isnan(value) else value, return_type=float | None),
]


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Estimate:
    """A figure with its 95 % interval, in memory and in `bundle.json`: NaN here, null there, where undefined.

    ``undefined`` counts the replicates without a value; it is not written.
    """

    value: Number
    low: Number = math.nan
    high: Number = math.nan
    undefined: Annotated[int, Field(exclude=True)] = 0

    @property
    def has_interval(self) -> bool:
        """Whether the ends are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def bare(self) -> Estimate:
        """The figure without its interval."""
        return Estimate(self.value, undefined=self.undefined)

    def to_json(self) -> dict[str, float | None]:
        """Value, low and high; None instead of NaN."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(end) else end for name, end in ends.items()}

    def in_brackets(self, digits: int = 3, *, unknown: str = "") -> str:
        """The figure with its interval in words; ``unknown`` follows a figure that has none.

        >>> Estimate(0.9144, 0.88, 0.941).in_brackets(), Estimate(0.5).in_brackets(2), Estimate(math.nan).in_brackets()
        ('0.914 [0.880, 0.941]', '0.50', 'undefined')
        """
        if math.isnan(self.value):
            return "undefined"
        ends = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.has_interval else unknown
        return f"{self.value:.{digits}f}{ends}"


@dataclass(frozen=True, slots=True)
class Resampling:
    """A plan of draws: which unit each picture belongs to, and which units may stand in for each other.

    Replicate r draws, stratum after stratum (blast-only, normal-only, mixed; units in sorted order within each),
    ``rng.integers(n, size=n)`` of its n units from one ``numpy.random.default_rng(seed)``. The weight of a picture is
    how often its unit was drawn.
    """

    unit: NDArray[np.int64]  # [N]
    strata: tuple[NDArray[np.int64], ...]  # three arrays of units
    replicates: int = REPLICATES
    seed: int = 0
    lone: int = 0  # units that are pictures whose patient is not known

    @classmethod
    def by_group(cls, label: ArrayLike, group: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0) -> Self:
        """Draw whole patient groups: ``group`` str or int [N], ``label`` 0 or 1 [N]."""
        patients = Patients.of(group)
        return cls(patients.unit, patients.strata(label), replicates, seed, patients.unknown)

    @classmethod
    def by_picture(cls, label: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0) -> Self:
        """Draw single pictures within each class, as if each came from another patient: too narrow, to compare only."""
        return cls.by_group(label, np.arange(len(np.asarray(label))), replicates=replicates, seed=seed)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of units per stratum."""
        return {name: len(units) for name, units in zip(_STRATA, self.strata, strict=True)}

    @property
    def counts(self) -> dict[str, int]:
        """``groups``: units; ``lone``, where there are any: those that are pictures whose patient is not known."""
        return {"groups": int(self.unit.max()) + 1} | ({"lone": self.lone} if self.lone else {})

    def varies(self, needs: Needs = "both") -> bool:
        """Whether replicates can differ in a figure which this class decides: a stratum that holds it has two units."""
        blasts, normals, mixed = (len(units) > 1 for units in self.strata)
        return mixed or (blasts and needs != "normal") or (normals and needs != "blast")

    @property
    def notes(self) -> tuple[str, ...]:
        """What the intervals leave out, in sentences to be shown beside them."""
        notes: list[str] = []
        if self.lone:
            pictures = "1 picture is" if self.lone == 1 else f"{self.lone:,} pictures are"
            notes.append(
                f"{pictures} of unknown patients, and each counts as a patient: intervals are likely too narrow, and "
                "nothing is said of new patients."
            )
        for name, size in self.sizes.items():
            if size == 1:
                notes.append(f"1 {name} group: its variability is not in the interval.")
            elif 1 < size < FEW_GROUPS:
                notes.append(f"{size} {name} groups: with so few the interval is likely too narrow.")
        return tuple(notes)

    def blocks(self) -> Iterator[Array]:
        """Weights of successive replicates, float64 [b, N]; the draws do not depend on the size of the blocks."""
        rng = np.random.default_rng(self.seed)
        units = int(self.unit.max()) + 1
        step = max(1, _BLOCK // len(self.unit))
        for start in range(0, self.replicates, step):
            times = np.zeros((min(step, self.replicates - start), units))
            for replicate in range(len(times)):
                drawn = [
                    stratum[rng.integers(len(stratum), size=len(stratum))] for stratum in self.strata if len(stratum)
                ]
                times[replicate] = np.bincount(np.concatenate(drawn), minlength=units)
            yield times[:, self.unit]

    def apply(self, statistic: Statistic) -> Array:
        """Values of ``statistic``, which maps weights [b, N] to [b, ...], for all replicates: [replicates, ...]."""
        return np.concatenate([statistic(weights) for weights in self.blocks()])


def estimates(value: ArrayLike, replicates: Array, *, level: float = LEVEL) -> list[Estimate]:
    """Percentile intervals.

    Args:
        value: float64 [K], the figures on the data themselves.
        replicates: float64 [R, K], the same on each replicate; NaN where undefined.
        level: the share of replicates between the ends.

    Returns:
        K estimates. Where the value, or one replicate in twenty or more, is undefined, so are the ends.
    """
    point = np.asarray(value, dtype=np.float64)
    return [_estimate(float(point[k]), replicates[:, k], level) for k in range(len(point))]


def _estimate(value: float, column: Array, level: float) -> Estimate:
    defined = column[~np.isnan(column)]
    missing = len(column) - len(defined)
    if np.isnan(value) or not len(defined) or missing >= (1 - level) * len(column):
        return Estimate(value, np.nan, np.nan, missing)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), missing)


def band(replicates: Array, *, level: float = LEVEL) -> tuple[Array, Array]:
    """Pointwise interval of a curve: ends float64 [M] of replicates [R, M]; NaN where a replicate is undefined."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
