"""What a bundle is worth on cells with one cue taken away or left, and how far its answer hangs on size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.bundle.audits import RuleFacts
from leukoscope.errors import DataError
from leukoscope.metrics import ranking
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, as_weights, ratio
from leukoscope.metrics.panel import measure
from leukoscope.studies.audits.rules import Audit, bracket, judged

MOST_BY_SIZE = 0.02  # of AUC
MOST_CORRELATED = 0.1
MOST_BY_BACKGROUND = 0.05  # of AUC, away from a coin's 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcuts(Audit):
    """What came out.

    Attributes:
        auc: of the bundle, by variant of the cells.
        lost: AUC of the plain cells less that of each variant, paired.
        area_auc: of the area alone, without any network: what size alone is worth on these cells.
        partial: correlation of logit and area within the classes.
        partial_normalised: of the logit on cells scaled to one area with their original area.
        within: correlation of logit and area among ``blast`` and ``normal`` cells.
        black: whether nothing but black is left of every cell's surround.
    """

    auc: dict[str, Estimate]
    lost: dict[str, Estimate]
    area_auc: Estimate
    partial: Estimate
    partial_normalised: Estimate | None
    within: dict[str, Estimate]
    black: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return Audit.to_json(self) | {
            "auc": {name: each.to_json() for name, each in self.auc.items()},
            "lost": {name: each.to_json() for name, each in self.lost.items()},
            "area_auc": self.area_auc.to_json(),
            "partial_correlation_with_area": self.partial.to_json(),
            "partial_correlation_with_area_size_normalised": (
                None if self.partial_normalised is None else self.partial_normalised.to_json()
            ),
            "correlation_with_area_within": {name: each.to_json() for name, each in self.within.items()},
            "surround_is_black": self.black,
        }


def partial_correlation(
    first: ArrayLike, second: ArrayLike, label: ArrayLike, weights: ArrayLike | None = None
) -> Array:
    """Correlation of two columns after each class's mean is taken from both.

    Args:
        first: float [N].
        second: float [N].
        label: 0 or 1 [N].
        weights: [N] or [B, N]; ones by default.

    Returns:
        [] or [B] in -1..1; NaN where a column does not vary within the classes.
    """
    x, y, blast = (np.asarray(each, dtype=np.float64) for each in (first, second, label))
    w = as_weights(weights, len(x))
    products = np.zeros((3, *w.shape[:-1]))
    for member in (blast == 1, blast == 0):
        if not member.any():
            continue
        of_class = w[..., member]
        # Centred first: sums of squares of large areas would lose digits.
        u, v = x[member] - x[member].mean(), y[member] - y[member].mean()
        total = of_class.sum(-1)
        for row, (a, b) in enumerate(((u, u), (v, v), (u, v))):
            product = np.nan_to_num(ratio((of_class @ a) * (of_class @ b), total))
            products[row] += of_class @ (a * b) - product
    return ratio(products[2], np.sqrt(np.maximum(products[0] * products[1], 0)))


def audit_shortcuts(
    logits: Mapping[str, Array],
    area: Array,
    label: NDArray[np.int64],
    group: NDArray[Any],
    *,
    black: bool,
    replicates: int = REPLICATES,
    seed: int = 0,
    context: Mapping[str, Any] | None = None,
) -> Shortcuts:
    """Measure answers on variants of the same cells.

    Args:
        logits: by variant, float64 [N] each; "plain" and "size normalised" among them.
        area: of the cells in pixels of the frame, [N].
        label: int64 [N], 1 blast, 0 normal.
        group: patient group [N].
        black: whether the frames hold nothing but black outside the cells.
        replicates: of the bootstrap over patient groups.
        seed: of the bootstrap.
        context: facts to show.

    Raises:
        DataError: a class is missing, or a variant that the rules need.
    """
    if len(np.unique(label)) < 2:
        raise DataError("the cells are all of one class, so no AUC exists", remedy="add cells of the other class")
    if missing := {"plain", "size normalised"} - set(logits):
        raise DataError(f"answers on the variant {sorted(missing)[0]!r} are missing")
    plan = Resampling.by_group(label, group, replicates=replicates, seed=seed)
    orders = {
        name: ranking.Ranking.of(label, logits[name]) for name in sorted(logits, key=lambda name: name != "plain")
    }
    orders["area"] = ranking.Ranking.of(label, area)

    def figures(weights: Array) -> Array:
        aucs = [ranking.roc_auc(order.sweep(weights)) for order in orders.values()]
        lost = [aucs[0] - each for each in aucs]
        pairs = [partial_correlation(logits[name], area, label, weights) for name in ("plain", "size normalised")]
        single = [
            partial_correlation(logits["plain"], area, np.ones(len(label)), weights * (label == value))
            for value in (1, 0)
        ]
        return np.stack([*aucs, *lost, *pairs, *single], axis=-1)

    pairs = ("partial", "partial normalised", "blast", "normal")
    keys = [*(f"auc {name}" for name in orders), *(f"lost {name}" for name in orders), *pairs]
    found = measure(figures, keys, plan)
    auc = {name: found[f"auc {name}"] for name in orders if name != "area"}
    lost = {name: found[f"lost {name}"] for name in orders if name not in {"area", "plain"}}
    return Shortcuts(
        auc=auc,
        lost=lost,
        area_auc=found["auc area"],
        partial=found["partial"],
        partial_normalised=found["partial normalised"],
        within={name: found[name] for name in ("blast", "normal")},
        black=black,
        rules=_judge(auc, lost, {name: found[name] for name in ("blast", "normal")}, black=black),
        counts={"cells": len(label), "blasts": int(label.sum()), **plan.counts},
        notes=plan.notes,
        context={**(context or {}), "replicates": replicates, "seed": seed},
    )


def _judge(
    auc: Mapping[str, Estimate], lost: Mapping[str, Estimate], within: Mapping[str, Estimate], *, black: bool
) -> tuple[RuleFacts, ...]:
    """By the figures themselves: with few patients the ends of an interval would pass or fail nothing."""
    followed = [abs(each.value) for each in within.values()]
    size = lost["size normalised"]
    rules = [
        judged(
            "size",
            f"With all cells scaled to one area, the AUC is within {MOST_BY_SIZE} of that of the plain cells.",
            f"{bracket(auc['size normalised'])} against {bracket(auc['plain'])}, difference {bracket(size)}",
            None if np.isnan(size.value) else abs(size.value) <= MOST_BY_SIZE,
        ),
        judged(
            "area",
            "Within blasts, and within normal cells, the logit does not follow the cell's area: correlation of at most "
            f"{MOST_CORRELATED} in magnitude.",
            "; ".join(f"{name}: {bracket(each)}" for name, each in within.items()),
            None if np.isnan(followed).any() else max(followed) <= MOST_CORRELATED,
        ),
    ]
    background = auc.get("background only")
    if background is not None:
        tail = "; the preparation leaves the surround exactly black" if black else ""
        rules.append(
            judged(
                "background",
                f"Without the cell the AUC is within {MOST_BY_BACKGROUND} of a coin's 0.5.",
                bracket(background) + tail,
                None if np.isnan(background.value) else abs(background.value - 0.5) <= MOST_BY_BACKGROUND,
            )
        )
    return tuple(rules)
