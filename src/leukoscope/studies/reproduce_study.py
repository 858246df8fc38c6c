"""Runs of one data set by split and network: their figures, and what the picture-level split was worth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from leukoscope.data.manifest import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.evaluation.intervals import Estimate
from leukoscope.studies.claims import CUSTOM, RIVALS
from leukoscope.studies.outcome import Outcome
from leukoscope.studies.reproduce_figures import SHOWN, Pooled, as_plain, differences, figures, pooled
from leukoscope.studies.reproduce_plan import ARMS, Plan


class Study:
    """Runs of one data set by arm and network, and what follows from them; a network without runs says why."""

    def __init__(self, manifest: Manifest, plan: Plan, outcomes: Sequence[Outcome], replicates: int) -> None:
        self.manifest, self.plan, self.replicates = manifest, plan, replicates
        self.outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            arm, _, model = outcome.row.entry.partition("/")
            self.outcomes[arm, model].append(outcome)
        self.sizes: dict[str, int] = {}  # parameters by network
        self.pools: dict[tuple[str, str], Pooled] = {}
        self.missing: dict[tuple[str, str], str] = {}
        for key, mine in self.outcomes.items():
            done = [each for each in mine if each.ok]
            try:
                if done:
                    self.pools[key] = pooled(done)
                else:
                    self.missing[key] = str(mine[0].reason)
            except LeukoscopeError as error:
                self.missing[key] = str(error)
        self.figures = {key: figures(pool.scores, replicates=replicates) for key, pool in self.pools.items()}

    @property
    def shortened(self) -> str | None:
        """What was cut short in any run, in words."""
        told = dict.fromkeys(pool.shortened for pool in self.pools.values() if pool.shortened)
        return "; ".join(str(each) for each in told) or None

    def why_missing(self, arm: str, model: str) -> str:
        """Why a network has no figures in an arm."""
        if model not in self.plan.models:
            return f"not measured here because {model} was left out of this reproduction"
        return f"not measured here because {self.missing.get((arm, model), 'it was not trained')}"

    def table(self) -> list[dict[str, Any]]:
        """Figures of every network in every arm, or why there are none."""
        rows: list[dict[str, Any]] = []
        for arm in ARMS:
            for model in (*CUSTOM, *RIVALS):
                pool = self.pools.get((arm.key, model))
                row: dict[str, Any] = {"arm": arm.key, "model": model}
                if pool is None:
                    rows.append(row | {"missing": self.why_missing(arm.key, model)})
                    continue
                naive = figures(pool.scores, replicates=self.replicates, by_picture=True)
                row |= {
                    "folds": list(pool.folds),
                    "of_folds": len(self.outcomes[arm.key, model]),
                    "pictures": len(pool.scores),
                    "groups": len(set(pool.scores.group.tolist())),
                    "shortened": pool.shortened,
                    "machine": pool.machine,
                    "metrics": as_plain(self.figures[arm.key, model], SHOWN),
                    "naive": as_plain(naive, ("accuracy", "auc")),
                }
                rows.append(row)
        return rows

    def fall(self, model: str) -> tuple[dict[str, Estimate], dict[str, tuple[float, float]], int] | None:
        """What the picture-level split is worth for a network: as stated minus patient groups, on the same cells."""
        group, stated = self.pools.get(("group", model)), self.pools.get(("stated", model))
        if group is None or stated is None:
            return None
        return differences(group.scores, stated.scores, replicates=self.replicates)

    def worth(self) -> list[dict[str, Any]]:
        """The same for all networks, with a sentence."""
        rows = []
        for model in (*CUSTOM, *RIVALS):
            found = self.fall(model)
            if found is None:
                continue
            falls, values, cells = found
            rows.append(
                {
                    "model": model,
                    "cells": cells,
                    "differences": as_plain(falls, tuple(falls)),
                    "values": {key: {"new_patients": a, "as_stated": b} for key, (a, b) in values.items()},
                    "sentence": worth_sentence(model, falls, values, cells),
                    "shortened": self.pools["stated", model].shortened,
                }
            )
        return rows


def worth_sentence(model: str, falls: dict[str, Estimate], values: dict[str, tuple[float, float]], cells: int) -> str:
    """What the picture-level split was worth for one network, in words."""
    told = []
    for key, word in (("accuracy", "accuracy"), ("auc", "AUC")):
        new, stated = values[key]
        fall = falls[key]
        within = "no interval" if math.isnan(fall.low) else f"95 % interval {fall.low:+.3f} to {fall.high:+.3f}"
        told.append(f"{word} {stated:.3f} instead of {new:.3f} ({fall.value:+.3f}, {within})")
    clear = [word for key, word in (("accuracy", "accuracy"), ("auc", "AUC")) if falls[key].low > 0]
    end = (
        f"For {' and '.join(clear)} that is clear: the interval excludes 0."
        if clear
        else "The intervals include 0: these patients do not settle how much it is."
    )
    return (
        f"{model}: on the same {cells:,} cells, having seen other cells of the same patients in training gave "
        f"{' and '.join(told)}. {end}"
    )
