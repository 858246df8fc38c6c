"""Two models on the same pictures: differences with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leukoscope.errors import DataError
from leukoscope.evaluation.glossary import BY_KEY, KEYS
from leukoscope.evaluation.intervals import REPLICATES, Estimate, Resampling
from leukoscope.evaluation.panel import Panel, with_intervals
from leukoscope.evaluation.table import Scores


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of a comparison: a figure of both models, and second minus first with its 95 % interval."""

    key: str
    first: float
    second: float
    difference: Estimate

    @property
    def better(self) -> str | None:
        """``first`` or ``second`` if the interval excludes 0, None if the data do not tell them apart."""
        if self.difference.low > 0:
            return "second" if BY_KEY[self.key].higher_is_better else "first"
        if self.difference.high < 0:
            return "first" if BY_KEY[self.key].higher_is_better else "second"
        return None


def compare(
    first: Scores,
    second: Scores,
    *,
    thresholds: tuple[float, float],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Differences of all figures of ``glossary.TERMS`` between two models.

    Both models are measured on the same replicates, so what makes a patient hard for both cancels (paired bootstrap:
    Efron & Tibshirani 1993). Many figures are compared at once and the intervals are not widened for that.

    Args:
        first: answers of one model.
        second: answers of the other on the same pictures, in any order.
        thresholds: of the first and of the second model, in [0, 1].
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        DataError: the tables are not about the same pictures with the same labels and groups.
    """
    aligned = _aligned(first, second)
    panels = [Panel.of(scores, threshold) for scores, threshold in zip((first, aligned), thresholds, strict=True)]
    plan = Resampling.by_group(first.label, first.group, replicates=replicates, seed=seed)
    drawn = plan.apply(lambda weights: panels[1].figures(weights) - panels[0].figures(weights))
    values = [panel.figures(np.ones(len(first))) for panel in panels]
    found = with_intervals(values[1] - values[0], drawn, first, plan)
    rows = zip(KEYS, values[0].tolist(), values[1].tolist(), strict=True)
    return tuple(Difference(key, one, two, found[key]) for key, one, two in rows)


def _aligned(first: Scores, second: Scores) -> Scores:
    place = {path: row for row, path in enumerate(second.path)}
    missing = [path for path in first.path if path not in place]
    if missing or len(first) != len(second):
        only = missing[0] if missing else (set(place) - set(first.path)).pop()
        raise DataError(f"picture {only!r} is in one table only", remedy="evaluate both models on the same pictures")
    aligned = second.take([place[path] for path in first.path])
    for name in ("label", "group"):
        differs = getattr(first, name) != getattr(aligned, name)
        if differs.any():
            path = first.path[int(np.argmax(differs))]
            raise DataError(f"the tables give picture {path!r} another {name}", remedy="evaluate both on one manifest")
    return aligned
