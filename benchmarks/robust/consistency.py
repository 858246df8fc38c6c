"""How far a model's answers hang on the finish of a picture: the same cells, asked twice.

A *flip* is a cell whose probability changes its side of the threshold. With a band of refer or a gate a user sees less
than that: an *overturned* cell is one stated blast before and normal after, or the reverse; a cell *withdrawn* is
stated before and referred after. A cell that could not be cut out again is *lost* and counted apart. Intervals are
from a bootstrap over patient groups, as everywhere (`metrics.bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.metrics.ranking import Ranking, roc_auc


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model said of N cells.

    Attributes:
        logit: float64 [N]; NaN where there is no answer.
        called: bool [N], probability at or above the threshold.
        decision: str [N]: blast, normal, refer; whatever else means none.
    """

    logit: Array
    called: NDArray[np.bool_]
    decision: NDArray[np.str_]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether there is an answer, bool [N]."""
        return np.isfinite(self.logit)


FIGURES = ("flips", "overturned", "withdrawn", "lost", "auc_before", "auc", "auc_gain")


@dataclass(frozen=True, slots=True)
class Consistency:
    """What a change did; shares are of the cells answered both times, `lost` of all.

    Attributes:
        cells: N.
        groups: patient groups among them.
        flips: share that changed its side of the threshold.
        overturned: share stated one class before and the other after.
        withdrawn: share stated before and referred after.
        lost: share without an answer after the change.
        auc_before: area under the ROC curve before, of the cells answered both times; mean over folds.
        auc: the same after.
        auc_gain: after less before, on the same replicates.
    """

    cells: int
    groups: int
    flips: Estimate
    overturned: Estimate
    withdrawn: Estimate
    lost: Estimate
    auc_before: Estimate
    auc: Estimate
    auc_gain: Estimate

    def to_json(self) -> dict[str, object]:
        """As JSON-ready values."""
        figures = {name: getattr(self, name).to_json() for name in FIGURES}
        return {"cells": self.cells, "groups": self.groups, **figures}


def consistency(
    label: NDArray[np.int64],
    group: NDArray[np.str_],
    fold: NDArray[np.int64],
    before: Answers,
    after: Answers,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Consistency:
    """Compare the answers before and after a change.

    Args:
        label: 1 blast, 0 normal, [N].
        group: patient groups, [N].
        fold: which network answered, [N]; logits of different networks are not ranked together.
        before: on the cells as they are; all of them answered.
        after: on the changed cells.
        replicates: of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: no cells, columns of different lengths, or a cell without an answer before.
    """
    sizes = {len(label), len(group), len(fold), len(before.logit), len(after.logit)}
    if sizes != {len(label)} or not len(label):
        raise ValueError(f"columns of {sorted(sizes)} rows")
    if not before.answered.all():
        raise ValueError("a cell has no answer before the change")
    both = after.answered
    stated = [np.isin(each.decision, ("blast", "normal")) for each in (before, after)]
    marks = np.stack(
        [
            both & (before.called != after.called),
            both & stated[0] & stated[1] & (before.decision != after.decision),
            both & stated[0] & (after.decision == "refer"),
        ],
        axis=1,
    ).astype(np.float64)
    rankings = [
        (part, Ranking.of(label[part], old[part]), Ranking.of(label[part], new[part]))
        for part in (np.flatnonzero((fold == k) & both) for k in np.unique(fold))
        for old, new in ((before.logit, after.logit),)
        if len(part)
    ]

    def statistic(weights: Array) -> Array:
        shares = [ratio(weights @ marks[:, k], weights @ both) for k in range(marks.shape[1])]
        shares.append(ratio(weights @ (~both), weights.sum(axis=-1)))
        areas = [
            np.array([roc_auc(ranking.sweep(weights[..., part])) for part, *pair in rankings for ranking in (pair[k],)])
            for k in (0, 1)
        ]
        means = [area.mean(axis=0) if len(area) else np.full(weights.shape[:-1], np.nan) for area in areas]
        return np.stack([*shares, *means, means[1] - means[0]], axis=-1)

    plan = Resampling.by_group(label, group, replicates=replicates, seed=seed)
    return Consistency(len(label), len(np.unique(group)), **measure(statistic, FIGURES, plan))
