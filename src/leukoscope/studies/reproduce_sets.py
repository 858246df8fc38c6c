"""Several data sets: networks trained on the first and tested on the others, and networks trained on all combined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from leukoscope.bundle.read import read_bundle
from leukoscope.data.combining import parts_of, set_names
from leukoscope.data.manifest import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.inference.classifier import Classifier
from leukoscope.studies.measuring import table_of
from leukoscope.studies.outcome import Outcome
from leukoscope.studies.reproduce_figures import SHOWN, as_plain, figures, recentred
from leukoscope.studies.reproduce_plan import BY_KEY, Plan
from leukoscope.studies.reproduce_study import Study
from leukoscope.studies.row import Row

_ARMS = ("stated", "group")


def across(sets: Sequence[Manifest], study: Study, say: Callable[[str], None], replicates: int) -> list[dict[str, Any]]:
    """The networks trained as stated on the first set, measured on all of each other one."""
    rows: list[dict[str, Any]] = []
    home, *names = set_names(sets)
    for other, name in zip(sets[1:], names, strict=True):
        for model in study.plan.models:
            row: dict[str, Any] = {"trained_on": home, "tested_on": name, "model": model}
            pool = study.pools.get(("stated", model))
            if pool is None:
                rows.append(row | {"missing": study.why_missing("stated", model)})
                continue
            say(f"{model}, trained on {home}, on {name}")
            [outcome] = study.outcomes["stated", model]
            bundle = read_bundle(outcome.bundle)
            try:
                scores, lost = table_of(Classifier(bundle), other.labelled())
            except LeukoscopeError as error:
                rows.append(row | {"missing": str(error)})
                continue
            moved = replace(scores, probability=recentred(scores.probability, bundle.facts.decision.threshold))
            found = figures(moved, replicates=replicates)
            rows.append(row | {"pictures": len(scores), "unreadable": len(lost), "shortened": pool.shortened}
                        | {"metrics": as_plain(found, SHOWN)})  # fmt: skip
    return rows


def combined(
    both: Manifest,
    plan: Plan,
    runs: Callable[[Manifest, Sequence[Row]], list[Outcome]],
    replicates: int,
) -> list[dict[str, Any]]:
    """Networks trained on all sets combined, their figures of each set apart."""
    study = Study(both, plan, runs(both, plan.rows([BY_KEY[key] for key in _ARMS])), replicates)
    home = dict(zip((record.path for record in both.records), parts_of(both).tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for arm in _ARMS:
        for model in plan.models:
            pool = study.pools.get((arm, model))
            row: dict[str, Any] = {"trained_on": both.name, "arm": arm, "model": model}
            if pool is None:
                rows.append(row | {"missing": study.why_missing(arm, model)})
                continue
            for name in sorted(set(home.values())):
                index = [i for i, path in enumerate(pool.scores.path) if home[path] == name]
                if not index:
                    rows.append(row | {"tested_on": name, "missing": "none of its pictures is in a finished test part"})
                    continue
                part = pool.scores.take(index)
                told = as_plain(figures(part, replicates=replicates), SHOWN)
                rows.append(
                    row | {"tested_on": name, "pictures": len(part), "shortened": pool.shortened, "metrics": told}
                )
    return rows
