"""Figures out of the answers that `robustness` collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.metrics.bootstrap import Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from robust.ask import AS_IT_IS, Row, read_collected
from robust.consistency import Answers, consistency


def consistency_figures(files: Sequence[Path]) -> dict[str, Any]:
    """Model -> change -> what it did, and how many cells that rests on.

    Raises:
        DataError: no answers were collected.
    """
    rows = [row for file in files for item in read_collected(file) for row in item]
    if not rows:
        raise DataError("no answers were collected", remedy="collect them first: python benchmarks/robustness.py cells")
    tables: dict[str, dict[str, dict[tuple[int, str], Row]]] = {}
    for row in rows:
        changes = tables.setdefault(row["model"], {})
        changes.setdefault(row["change"], {})[row["fold"], row["path"]] = row
    result: dict[str, Any] = {}
    for model, changes in sorted(tables.items()):
        base = [row for _, row in sorted(changes[AS_IT_IS].items()) if row["logit"] is not None]
        label, group, fold = (np.array([row[key] for row in base]) for key in ("label", "group", "fold"))
        result[model] = {
            "cells": len(base),
            "blasts": int(label.sum()),
            "folds": sorted(set(fold.tolist())),
            "decisions": dict(Counter(row["decision"] for row in base)),
            "changes": {},
        }
        for name, found in changes.items():
            if name != AS_IT_IS:
                after = [_after(changes, name, found, (row["fold"], row["path"])) for row in base]
                figures = consistency(label, group, fold, _answers(base), _answers(after))
                result[model]["changes"][name] = figures.to_json()
    return result


def foreign_figures(files: Sequence[Path]) -> dict[str, Any]:
    """Set -> model -> scale and normalisation -> shares of its normal cells called blast, normal and referred.

    A cell is judged by the bundles of all folds, its share is their mean. Intervals resample pictures: no patient is
    named in these sets, so they are too narrow.
    """
    result: dict[str, Any] = {}
    for file in files:
        items = read_collected(file)
        rows = [row for item in items for row in item if not row["lost"]]
        lost = sum(row["lost"] for item in items for row in item)
        scales = [row["um_per_px"] for row in rows if row["um_per_px"] is not None]
        figures: dict[str, Any] = {
            "pictures": len(items),
            "without_a_cell": lost,
            "um_per_px": [round(float(q), 4) for q in np.quantile(scales, (0.1, 0.5, 0.9))] if scales else None,
            "models": {},
        }
        for model in sorted({row["model"] for row in rows}):
            ways = dict.fromkeys(row["change"] for row in rows if row["model"] == model)
            figures["models"][model] = {
                way: _shares([row for row in rows if row["model"] == model and row["change"] == way]) for way in ways
            }
        result[file.stem.removeprefix("foreign-")] = figures
    return result


def _shares(rows: Sequence[Row]) -> dict[str, Any]:
    picture = np.array([row["picture"] for row in rows])
    over = np.array([bool(row["called"]) for row in rows])
    decision = np.array([row["decision"] for row in rows])
    marks = np.stack([decision == "blast", decision == "normal", decision == "refer", over], axis=1).astype(np.float64)

    def statistic(weights: Array) -> Array:
        return ratio(weights @ marks, weights.sum(axis=-1)[..., None])

    plan = Resampling.by_group(np.zeros(len(rows)), picture)
    names = ("blast", "normal", "refer", "over_the_threshold")
    cells = len({(row["picture"], row["cell"]) for row in rows})
    return {"cells": cells, **{name: each.to_json() for name, each in measure(statistic, names, plan).items()}}


def _after(changes: dict[str, dict[Any, Row]], name: str, found: dict[Any, Row], key: tuple[int, str]) -> Row:
    """The answer on a changed cell; what was not found on a field has one row, for all normalisations."""
    row = found.get(key)
    if row is not None:
        return row
    title = name.partition(";")[0]
    return changes.get(f"{title}; none", {}).get(key, _NONE)


_NONE: Row = {"logit": None, "called": None, "decision": "lost"}


def _answers(rows: Sequence[Row]) -> Answers:
    logit: NDArray[np.float64] = np.array([np.nan if row["logit"] is None else row["logit"] for row in rows])
    return Answers(logit, np.array([bool(row["called"]) for row in rows]), np.array([row["decision"] for row in rows]))
