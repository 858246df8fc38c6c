"""The runs that the reproduction of the paper needs, and their figures: pooled over folds, paired on the same cells.

Its protocol as stated, and what it should be held against: what the picture-level split was worth, and several data
sets, networks trained on the first and tested on the others, and networks trained on all combined.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.datasets.combine import parts_of, set_names
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.panel import Panel, measure
from leukoscope.runs.measure import table_of
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import RUN_FILE, Run
from leukoscope.studies.compare.pool import Entry, measure_entries, on_common_cells, pool_entry
from leukoscope.studies.paper.claims import CUSTOM, RIVALS

SHOWN = ("accuracy", "auc", "precision_blast", "sensitivity", "specificity", "f1_blast", "f1_weighted")
PART_CELLS = 1000  # of a training or validation part: enough to tell its accuracy


def figures(panel: Panel, *, replicates: int = REPLICATES, by_picture: bool = False) -> dict[str, Estimate]:
    """Figures with intervals over patient groups, or over single pictures to show how narrow they are."""
    scores = panel.scores
    plan = (
        Resampling.by_picture(scores.label, replicates=replicates)
        if by_picture
        else Resampling.by_group(scores.label, scores.group, replicates=replicates)
    )
    return measure(panel.figures, panel.keys, plan)


def paired_differences(
    first: Entry, second: Entry, *, replicates: int = REPLICATES
) -> tuple[dict[str, Estimate], dict[str, tuple[float, float]], int] | None:
    """Second minus first on the cells that both judged, paired over patients; both values, and how many cells.

    Returns:
        Accuracy and AUC, by key; None where no cell of either class is shared.
    """
    pair = [replace(first, name="first"), replace(second, name="second")]
    try:
        shared, apart, _ = on_common_cells(pair, "first")
    except DataError:
        return None
    if apart:
        return None
    measures, _ = measure_entries(shared, "first", replicates=replicates)
    mine, theirs = measures["first"], measures["second"]
    keys = ("accuracy", "auc")
    values = {key: (mine.figures[key].value, theirs.figures[key].value) for key in keys}
    return {key: theirs.differences[key] for key in keys}, values, len(shared[0].pools[0].scores)


def part_figures(outcome: Outcome, manifest: Manifest, part: str) -> tuple[dict[str, Estimate], int]:
    """Figures of a run's bundle on `PART_CELLS` random cells at most of its part ``train`` or ``val``, and how many."""
    run = outcome.run
    data = replace(run.dataset, root=manifest.root, parts=manifest.parts)  # the pictures where they lie now
    index = getattr(run.split, part)
    if len(index) > PART_CELLS:  # drawn over pictures: a sample that evens out patients would have another accuracy
        index = np.sort(np.random.default_rng(0).choice(index, PART_CELLS, replace=False))
    bundle = run.bundle()
    scores, _ = table_of(Classifier(bundle), data.select(index))
    return figures(Panel.of(scores, bundle.facts.decision.threshold, SHOWN)), len(scores)


def figures_json(found: dict[str, Estimate], keys: Sequence[str] = SHOWN) -> dict[str, Any]:
    """Estimates as JSON values."""
    return {key: found[key].to_json() for key in keys if key in found}


INCEPTION_SIZE = 299
_CLAHE_OFF = "input.preparation.clahe=null"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of splitting and preparing.

    Attributes:
        key: short name.
        title: for tables.
        protocol: of the split.
        clahe_for_all: False equalises the pictures of the custom networks only, as the paper says.
    """

    key: str
    title: str
    protocol: str
    clahe_for_all: bool


ARMS = (
    Arm("stated", "As stated: pictures drawn 80:20, CLAHE for the custom networks", "picture", False),
    Arm("clahe", "Pictures drawn 80:20, CLAHE for all", "picture", True),
    Arm("subject", "Whole subjects held out, CLAHE for all", "subject", True),
    Arm("group", "Whole patient groups held out, CLAHE for all", "group", True),
)
BY_KEY = {arm.key: arm for arm in ARMS}


@dataclass(frozen=True, slots=True)
class ReproductionPlan:
    """What decides the runs.

    Attributes:
        models: networks to train; the other ones are not measured.
        folds: of the splits by subject and by group.
        epochs: at most; None: as in the recipe.
        limit: pictures; None for all.
        seed: of weights, order and augmentation.
        overrides: further changes of the recipe, ``KEY=VALUE``.
        weights: what the rivals start from; None: their default, pre-trained.
    """

    models: tuple[str, ...] = (*CUSTOM, *RIVALS)
    folds: int = 5
    epochs: int | None = None
    limit: int | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()
    weights: str | None = None

    def rows(self, arms: Sequence[Arm] = ARMS) -> list[Row]:
        """All runs, an entry ``arm/model`` each; those of two arms that are the same thing train once."""
        return [row for arm in arms for model in self.models for row in self._rows(arm, model)]

    def _rows(self, arm: Arm, model: str) -> list[Row]:
        told = list(self.overrides)
        if model not in CUSTOM and not arm.clahe_for_all:
            told.append(_CLAHE_OFF)
        if model == "inception_v3" and not any(each.startswith("input.size=") for each in told):
            told.append(f"input.size={INCEPTION_SIZE}")
        if self.epochs is not None:
            told.append(f"epochs={self.epochs}")
        row = Row(
            entry=f"{arm.key}/{model}",
            recipe="paper",
            model=model,
            overrides=tuple(told),
            protocol=arm.protocol,
            fold=0,
            folds=self.folds,
            seed=self.seed,
            limit=self.limit,
            weights=None if model in CUSTOM else self.weights,
        )
        return [replace(row, fold=fold) for fold in range(1 if arm.protocol == "picture" else self.folds)]


def find_given(rows: Sequence[Row], manifest: Manifest, folders: Sequence[Path]) -> dict[str, Outcome]:
    """Finished runs among ``folders`` that are the very runs wanted: slug to outcome.

    A folder may be a run or hold runs. Recipe, data and limit are compared; the folder's name does not count.
    """
    held: list[Run] = []
    for folder in folders:
        for file in sorted([*folder.glob(RUN_FILE), *folder.glob(f"*/{RUN_FILE}")]):
            try:
                held.append(Run.open(file.parent))
            except LeukoscopeError:
                continue
    found: dict[str, Outcome] = {}
    for row in rows:
        try:
            recipe = row.to_recipe()
        except LeukoscopeError:
            continue  # the grid says why
        for run in held:
            try:
                if run.matches(recipe, manifest, row.limit):
                    found[row.slug()] = replace(Outcome.given(run.folder), row=row)
                    break
            except LeukoscopeError:
                continue
    return found


class Study:
    """Runs of one data set by arm and network, and what follows from them; a network without runs says why."""

    def __init__(
        self, manifest: Manifest, plan: ReproductionPlan, outcomes: Sequence[Outcome], replicates: int
    ) -> None:
        self.manifest, self.plan, self.replicates = manifest, plan, replicates
        self.outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            arm, _, model = outcome.row.entry.partition("/")
            self.outcomes[arm, model].append(outcome)
        self.sizes: dict[str, int] = {}  # parameters by network
        self.entries: dict[tuple[str, str], Entry] = {}
        self.missing: dict[tuple[str, str], str] = {}
        for key, mine in self.outcomes.items():
            done = [each for each in mine if each.ok]
            try:
                if done:
                    self.entries[key] = pool_entry("/".join(key), done)
                else:
                    self.missing[key] = str(mine[0].reason)
            except LeukoscopeError as error:
                self.missing[key] = str(error)
        panels = {key: entry.pools[0].panel(SHOWN) for key, entry in self.entries.items()}
        self.figures = {key: figures(panel, replicates=replicates) for key, panel in panels.items()}

    @property
    def shortened(self) -> str | None:
        """What was cut short in any run, in words."""
        return (
            "; ".join(dict.fromkeys(filter(None, (each.told("shortened") for each in self.entries.values())))) or None
        )

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
                entry = self.entries.get((arm.key, model))
                row: dict[str, Any] = {"arm": arm.key, "model": model}
                if entry is None:
                    rows.append(row | {"missing": self.why_missing(arm.key, model)})
                    continue
                scores = entry.pools[0].scores
                naive = figures(entry.pools[0].panel(SHOWN), replicates=self.replicates, by_picture=True)
                row |= {
                    "folds": list(entry.folds),
                    "of_folds": len(self.outcomes[arm.key, model]),
                    "pictures": len(scores),
                    "groups": len(set(scores.group.tolist())),
                    "shortened": entry.told("shortened"),
                    "machine": entry.told("machine"),
                    "metrics": figures_json(self.figures[arm.key, model]),
                    "naive": figures_json(naive, ("accuracy", "auc")),
                }
                rows.append(row)
        return rows

    def fall(self, model: str) -> tuple[dict[str, Estimate], dict[str, tuple[float, float]], int] | None:
        """What the picture-level split is worth for a network: as stated minus patient groups, on the same cells."""
        group, stated = self.entries.get(("group", model)), self.entries.get(("stated", model))
        if group is None or stated is None:
            return None
        return paired_differences(group, stated, replicates=self.replicates)

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
                    "differences": figures_json(falls, tuple(falls)),
                    "values": {key: {"new_patients": a, "as_stated": b} for key, (a, b) in values.items()},
                    "sentence": worth_sentence(model, falls, values, cells),
                    "shortened": self.entries["stated", model].told("shortened"),
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


_ARMS = ("stated", "group")


def across(sets: Sequence[Manifest], study: Study, say: Callable[[str], None], replicates: int) -> list[dict[str, Any]]:
    """The networks trained as stated on the first set, measured on all of each other one."""
    rows: list[dict[str, Any]] = []
    home, *names = set_names(sets)
    for other, name in zip(sets[1:], names, strict=True):
        for model in study.plan.models:
            row: dict[str, Any] = {"trained_on": home, "tested_on": name, "model": model}
            entry = study.entries.get(("stated", model))
            if entry is None:
                rows.append(row | {"missing": study.why_missing("stated", model)})
                continue
            say(f"{model}, trained on {home}, on {name}")
            [outcome] = study.outcomes["stated", model]
            bundle = outcome.run.bundle()
            try:
                scores, lost = table_of(Classifier(bundle), other.labelled())
            except LeukoscopeError as error:
                rows.append(row | {"missing": str(error)})
                continue
            found = figures(Panel.of(scores, bundle.facts.decision.threshold, SHOWN), replicates=replicates)
            rows.append(row | {"pictures": len(scores), "unreadable": len(lost), "shortened": entry.told("shortened")}
                        | {"metrics": figures_json(found)})  # fmt: skip
    return rows


def combined(
    both: Manifest,
    plan: ReproductionPlan,
    runs: Callable[[Manifest, Sequence[Row]], list[Outcome]],
    replicates: int,
) -> list[dict[str, Any]]:
    """Networks trained on all sets combined, their figures of each set apart."""
    study = Study(both, plan, runs(both, plan.rows([BY_KEY[key] for key in _ARMS])), replicates)
    home = dict(zip((record.path for record in both.records), parts_of(both).tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for arm in _ARMS:
        for model in plan.models:
            entry = study.entries.get((arm, model))
            row: dict[str, Any] = {"trained_on": both.name, "arm": arm, "model": model}
            if entry is None:
                rows.append(row | {"missing": study.why_missing(arm, model)})
                continue
            for name in sorted(set(home.values())):
                pool = entry.pools[0]
                part = pool.part(np.array([home[path] == name for path in pool.scores.path]))
                if not len(part.scores):
                    rows.append(row | {"tested_on": name, "missing": "none of its pictures is in a finished test part"})
                    continue
                told = figures_json(figures(part.panel(SHOWN), replicates=replicates))
                facts = {"pictures": len(part.scores), "shortened": entry.told("shortened"), "metrics": told}
                rows.append(row | {"tested_on": name, **facts})
    return rows
