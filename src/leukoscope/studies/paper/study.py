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
from numpy.typing import NDArray

from leukoscope.datasets.combine import parts_of, set_names
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.glossary import KEYS
from leukoscope.metrics.panel import Panel, compare, measure
from leukoscope.metrics.scores import Scores
from leukoscope.runs.measure import table_of
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import RUN_FILE, Run
from leukoscope.studies.paper.claims import CUSTOM, RIVALS

HALF = 0.5
SHOWN = ("accuracy", "auc", "precision_blast", "sensitivity", "specificity", "f1_blast", "f1_weighted")
PART_CELLS = 1000  # of a training or validation part: enough to tell its accuracy


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The answers of one network in one arm.

    Attributes:
        scores: all finished test parts; probabilities are moved so that 0.5 is each fold's own threshold.
        folds: which folds are in.
        shortened: what was cut short or changed against the recipe, None if nothing.
        machine: what trained it.
    """

    scores: Scores
    folds: tuple[int, ...]
    shortened: str | None
    machine: str


def pooled(outcomes: Sequence[Outcome]) -> Pooled:
    """The runs of one entry put together; each cell is judged by the network whose fold left it out.

    Raises:
        LeukoscopeError: a run is damaged, or two of them were tested on the same cells.
    """
    tables, folds, shortened, machines = [], [], [], []
    for outcome in outcomes:
        run = outcome.run
        found = run.scores()
        tables.append(replace(found, probability=recentred(found.probability, run.threshold)))
        folds.append(outcome.row.fold or 0)
        training = run.bundle().facts.training
        assert training is not None
        shortened.append(training.shortened)
        machines.append(training.machine)
    scores = Scores(
        path=tuple(path for table in tables for path in table.path),
        **{
            key: np.concatenate([getattr(table, key) for table in tables])
            for key in ("label", "probability", "logit", "subject", "group")
        },
    )
    told = [each for each in dict.fromkeys(shortened) if each]
    return Pooled(scores, tuple(folds), "; ".join(told) or None, "; ".join(dict.fromkeys(machines)))


def recentred(probability: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Move probabilities so that what is at or above the threshold is at or above 0.5, order kept.

    >>> recentred(np.array([0.0, 0.1, 0.2, 1.0]), 0.2)
    array([0.  , 0.25, 0.5 , 1.  ])
    """
    if threshold <= 0:
        return HALF + HALF * probability
    above = HALF + HALF * (probability - threshold) / max(1 - threshold, 1e-12)
    return np.where(probability >= threshold, np.clip(above, HALF, 1.0), HALF * probability / threshold)


def figures(scores: Scores, *, replicates: int = REPLICATES, by_picture: bool = False) -> dict[str, Estimate]:
    """All figures at 0.5 with intervals over patient groups, or over single pictures to show how narrow they are."""
    panel = Panel.of(scores, HALF)
    plan = (
        Resampling.by_picture(scores.label, replicates=replicates)
        if by_picture
        else Resampling.by_group(scores.label, scores.group, replicates=replicates)
    )
    return measure(panel.figures, KEYS, plan)


def differences(
    first: Scores, second: Scores, keys: Sequence[str] = ("accuracy", "auc"), *, replicates: int = REPLICATES
) -> tuple[dict[str, Estimate], dict[str, tuple[float, float]], int] | None:
    """Second minus first on the cells that both judged, paired over patients; both values, and how many cells.

    Returns:
        None where no cell of either class is shared.
    """
    place = {path: row for row, path in enumerate(first.path)}
    shared = [path for path in second.path if path in place]
    mine = first.take([place[path] for path in shared])
    theirs = second.take([row for row, path in enumerate(second.path) if path in place])
    if len(set(mine.label.tolist())) < 2:
        return None
    rows = {row.key: row for row in compare(mine, theirs, thresholds=(HALF, HALF), replicates=replicates)}
    values = {key: (rows[key].first, rows[key].second) for key in keys}
    return {key: rows[key].difference for key in keys}, values, len(shared)


def part_figures(outcome: Outcome, manifest: Manifest, part: str) -> tuple[dict[str, Estimate], int]:
    """Figures of a run's bundle on `PART_CELLS` random cells at most of its part ``train`` or ``val``, and how many."""
    run = outcome.run
    data = replace(run.dataset, root=manifest.root, parts=manifest.parts)  # the pictures where they lie now
    index = getattr(run.split, part)
    if len(index) > PART_CELLS:  # drawn over pictures: a sample that evens out patients would have another accuracy
        index = np.sort(np.random.default_rng(0).choice(index, PART_CELLS, replace=False))
    cells = data.select(index)
    bundle = run.bundle()
    scores, _ = table_of(Classifier(bundle), cells)
    moved = replace(scores, probability=recentred(scores.probability, bundle.facts.decision.threshold))
    return figures(moved), len(scores)


def as_plain(found: dict[str, Estimate], keys: Sequence[str] = KEYS) -> dict[str, Any]:
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
class Plan:
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
            bundle = outcome.run.bundle()
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
