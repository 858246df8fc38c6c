"""Figures of ALL-IDB out of its pictures' scores: detection, pictures, cells, and all within each resolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from leukoscope.evaluation.intervals import Resampling, estimates
from leukoscope.evaluation.ranking import Ranking, roc_auc
from leukoscope.evaluation.weighting import Array, ratio
from leukoscope.studies.detection import PictureScore


def detection_figures(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Of blasts listed in `.xyc` files; shares with 95 % intervals from a bootstrap over pictures.

    `recall`: listed blasts found. `answered_blast`, `answered_refer`: share of all listed blasts that is found and
    called so. `called_listed`: share of cells called blast, over leukemic pictures, that is a listed blast.
    """
    used = [score for score in scores if score.matched is not None]
    ill = [score for score in used if score.label == 1 and score.listed]
    away = np.array([each for score in used for each in score.distances_um])
    result: dict[str, Any] = {
        "pictures": len(scores),
        "without_scale": sum(s.error is None and s.um_per_px is None for s in scores),
        "unreadable": sum(s.error is not None for s in scores),
        "blasts_listed": sum(s.listed or 0 for s in ill),
        "distance_um": None if not len(away) else dict(zip(("median", "90 %"), _rounded(away), strict=True)),
    }
    if not ill:
        return result
    tops = {
        "recall": ([s.matched or 0 for s in ill], [s.listed or 0 for s in ill]),
        "answered_blast": ([s.decisions.count("blast") for s in ill], [s.listed or 0 for s in ill]),
        "answered_refer": ([s.decisions.count("refer") for s in ill], [s.listed or 0 for s in ill]),
        "called_listed": ([s.called_listed for s in ill], [s.called for s in ill]),
    }
    return result | {name: _share(top, bottom, [s.group for s in ill]) for name, (top, bottom) in tops.items()}


def label_figures(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Of the label: of the picture by its most blast-like cell (fields), or of the cell in the middle (crops).

    `auc` and, for crops, `sensitivity`, `specificity` (of cells decided) and `referred`. Pictures without an answer are
    counted, and are in none of the figures.
    """
    used = [score for score in scores if score.logit is not None]
    result: dict[str, Any] = {
        "pictures": len(scores),
        "answered": len(used),
        "leukemic": sum(score.label for score in used),
        "auc": None,
    }
    label = np.array([score.label for score in used])
    if len(set(label.tolist())) == 2:
        ranking = Ranking.of(label, np.array([score.logit for score in used]))
        plan = Resampling.by_group(label, np.array([score.group for score in used]))

        def auc(weights: Array) -> Array:
            return roc_auc(ranking.sweep(weights))[..., None]

        result["auc"] = estimates(auc(np.ones((1, len(used))))[0], plan.apply(auc))[0].as_dict()
    if any(score.decision is not None for score in used):
        for name, side, word in (("sensitivity", 1, "blast"), ("specificity", 0, "normal")):
            part = [s for s in used if s.label == side]
            result[name] = _share(
                [s.decision == word for s in part], [s.decision != "refer" for s in part], [s.group for s in part]
            )
        result["referred"] = _share([s.decision == "refer" for s in used], [1] * len(used), [s.group for s in used])
    return result


def by_resolution(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """The figures within each size of picture, the commonest first: there the size cannot tell the label."""
    sizes = Counter(score.resolution for score in scores if score.error is None)
    result = {}
    for size, _ in sizes.most_common():
        part = [score for score in scores if score.resolution == size]
        result[f"{size[0]} x {size[1]}"] = {"detection": detection_figures(part), "label": label_figures(part)}
    return result


def _share(top: Sequence[float], bottom: Sequence[float], group: Sequence[str]) -> dict[str, float | None]:
    if not len(bottom):
        return {"value": None, "low": None, "high": None}
    over, under = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    plan = Resampling.by_group(np.ones(len(over)), np.asarray(group))

    def statistic(weights: Array) -> Array:
        return ratio(weights @ over, weights @ under)[..., None]

    return estimates(statistic(np.ones((1, len(over))))[0], plan.apply(statistic))[0].as_dict()


def _rounded(values: Array) -> tuple[float, float]:
    middle, most = np.quantile(values, (0.5, 0.9))
    return round(float(middle), 2), round(float(most), 2)
