"""Cross-validation: one recipe on every fold with several seeds, pooled into one report.

Figures are those of a comparison of one entry (`pool`): each cell is judged by the network that never saw its fold. To
them come the figures of each fold with their intervals, the worst fold, and how the runs learned.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from leukoscope._version import __version__
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError, RecipeError, TrainingError
from leukoscope.files import together, write_bytes, write_json, write_text
from leukoscope.metrics.bootstrap import REPLICATES, Estimate
from leukoscope.metrics.glossary import BY_KEY
from leukoscope.page import render
from leukoscope.reports import wording
from leukoscope.reports.evaluation import inline
from leukoscope.reports.learning import draw_learning, learning_drawings
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import Run
from leukoscope.studies.compare.pool import COMPARED, Entry, Measure, fold_figures
from leukoscope.studies.compare.report import draw_rocs, made_with, stamps
from leukoscope.studies.compare.table import Comparison, compare_runs
from leukoscope.tables import csv_text

FORMAT: Final = {"format": "leukoscope-crossval", "format_version": 1}
PAGE: Final = "crossval.html"
VALUES: Final = "crossval.json"
SHOWN: Final = ("auc", "balanced_accuracy", "sensitivity", "specificity", "f1_weighted", "brier", "ece")


def crossval_rows(
    recipe: str,
    data: Manifest,
    *,
    folds: int = 5,
    seeds: Sequence[int] = (0,),
    model: str | None = None,
    protocol: str | None = None,
    overrides: Sequence[str] = (),
    limit: int | None = None,
) -> tuple[Row, ...]:
    """The runs of a cross-validation, seed by seed, so that one that is cut off has every fold of the first seed.

    Args:
        recipe: name of a recipe, or a YAML file.
        data: what is cross-validated; its official folds, or its parts by laboratory, where the protocol is that.
        folds: how many; of other protocols than those two.
        seeds: of the training.
        model: network instead of the recipe's.
        protocol: instead of the recipe's.
        overrides: changes of the recipe, ``KEY=VALUE``.
        limit: at most so many pictures.

    Raises:
        RecipeError: there is no such recipe, or its protocol has no folds.
        DataError: the data have none of that protocol.
        ModelError: no network has this name.
    """
    from leukoscope.models import model_spec  # noqa: PLC0415 - needs torch

    chosen = Row(recipe, recipe, model, tuple(overrides), protocol).to_recipe()
    model_spec(chosen.model.name)  # a slip of the pen is said before hours of training
    if chosen.split.protocol == "picture":
        raise RecipeError(
            "the protocol picture has one test part and no folds", remedy="give --protocol group, as new patients need"
        )
    numbers = list(range(folds))
    share: int | None = None
    if chosen.split.protocol in {"official", "laboratory"}:
        official = sorted({record.fold for record in data.records if record.fold is not None})
        numbers = official if chosen.split.protocol == "official" else list(range(len(data.parts)))
        if not numbers:
            raise DataError(
                f"there are no folds of the protocol {chosen.split.protocol}", path=data.root,
                remedy="give --protocol group, or, for laboratory, --data for each",
            )  # fmt: skip
    else:
        share = folds
    name = chosen.name if model is None else f"{chosen.model.name}, {chosen.name}"
    return tuple(
        Row(name, recipe, model, tuple(overrides), protocol, fold, share, seed, limit)
        for seed in seeds
        for fold in numbers
    )


def plan_digest(rows: Sequence[Row], data: Manifest) -> str:
    """SHA-256 of what is asked for: the recipes of all rows, and the data."""
    told = [[row.slug() for row in rows], data.fingerprint()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """A cross-validation, whole.

    Attributes:
        run: digest of what was asked for, from `plan_digest`.
        comparison: its one entry, pooled over folds.
        folds: fold to figures with their intervals over its patient groups, mean over seeds.
        counts: fold to its cells, blasts and patient groups.
        runs: one row for each run: fold, seed, figures, bundle, threshold, software, minutes, history.
    """

    run: str | None
    comparison: Comparison
    folds: Mapping[int, dict[str, Estimate]]
    counts: Mapping[int, dict[str, int]]
    runs: tuple[dict[str, Any], ...]

    @property
    def entry(self) -> Entry:
        """What was cross-validated."""
        return next(iter(self.comparison.entries.values()))

    @property
    def measure(self) -> Measure:
        """Its pooled figures."""
        return next(iter(self.comparison.measures.values()))

    @property
    def worst(self) -> int | None:
        """The fold with the lowest AUC; None where no fold has one."""
        known = {fold: each["auc"].value for fold, each in self.folds.items() if not math.isnan(each["auc"].value)}
        return min(known, key=lambda fold: known[fold], default=None)

    @property
    def learning(self) -> dict[str, list[dict[str, float]]]:
        """Figures by epoch, by run."""
        return {f"fold {each['fold']}, seed {each['seed']}": each["history"] for each in self.runs}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        entry = self.comparison.to_json()["entries"][0]
        pooled = ("metrics", "by_seed", "worst_subject", "roc")
        return {
            **FORMAT,
            "run": self.run,
            "software": __version__,
            "context": dict(self.comparison.context),
            "counts": dict(self.comparison.counts),
            "notes": list(self.comparison.notes),
            "entry": {"name": entry["name"], **entry["runs"]},
            **{key: entry[key] for key in pooled},
            "by_fold": {
                str(fold): {
                    "counts": self.counts[fold],
                    "metrics": {key: each.to_json() for key, each in figures.items()},
                }
                for fold, figures in self.folds.items()
            },
            "worst_fold": self.worst,
            "runs": list(self.runs),
        }

    def to_csv(self) -> str:
        """One line for each run; empty where unknown."""
        facts = ("fold", "seed", "cells", "bundle", "threshold", "software", "minutes")
        lines = [[*(run[key] for key in facts), *(run["metrics"][key] for key in COMPARED)] for run in self.runs]
        return csv_text([*facts, *COMPARED], lines)


def cross_validate(
    outcomes: Sequence[Outcome],
    *,
    run: str | None = None,
    replicates: int = REPLICATES,
    context: Mapping[str, Any] | None = None,
) -> CrossValidation:
    """Pool finished runs.

    Args:
        outcomes: of all rows, each of them trained.
        run: digest of what was asked for.
        replicates: number of bootstrap replicates.
        context: further facts to keep, such as the command.

    Raises:
        LeukoscopeError: a run failed or is damaged, or the runs are not of one thing.
    """
    comparison = compare_runs(outcomes, replicates=replicates, context=context)
    for fault in comparison.faults.values():
        raise TrainingError(fault)
    entry = next(iter(comparison.entries.values()))
    pool = entry.pools[0]
    counts = {}
    for fold in entry.folds:
        part = pool.part(pool.fold == fold).scores
        groups = len(np.unique(part.group))
        counts[fold] = {"cells": len(part), "blasts": int(part.label.sum()), "groups": groups}
    figures = {fold: fold_figures(entry, fold, replicates=replicates) for fold in entry.folds}
    return CrossValidation(
        run, comparison, figures, counts, tuple(_told(Run.open(each.folder), entry) for each in outcomes)
    )


def _told(run: Run, entry: Entry) -> dict[str, Any]:
    """A run as a row."""
    seed, fold = run.recipe.seed, run.split.fold
    pool = next(each for each in entry.pools if each.seed == seed)
    part = pool.part(pool.fold == fold)
    values = part.panel(COMPARED).figures(np.ones(len(part.scores))).tolist()
    bundle = run.bundle()
    return {
        "fold": fold,
        "seed": seed,
        "cells": len(part.scores),
        "bundle": bundle.digest,
        "threshold": run.threshold,
        "software": bundle.facts.version,
        "minutes": None if run.minutes is None else round(run.minutes, 2),
        "metrics": {k: None if math.isnan(v) else v for k, v in zip(COMPARED, values, strict=True)},
        "history": run.history,
    }


def write_crossval(found: CrossValidation, folder: Path) -> Path:
    """Write page, drawings, CSV and JSON as one generation; the path of the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    comparison = found.comparison
    roc = draw_rocs(comparison)
    drawings = [("roc", inline("roc", roc), "Mean over seeds. The dashed grey line is a coin.")]
    page = render(
        "studies/compare/crossval.html.j2",
        v=found,
        c=comparison,
        counts=comparison.counts,
        figures=[*drawings, *learning_drawings(found.learning)],
        stamps=stamps(comparison),
        meaning=wording.protocol_meaning(found.entry.protocol),
        new_patients=found.entry.protocol in wording.NEW_PATIENTS,
        protocol=wording.protocol_title(found.entry.protocol),
        terms=[BY_KEY[key] for key in COMPARED],
        shown=[BY_KEY[key] for key in SHOWN],
        made_with=made_with(comparison),
        of_whom=wording.of_whom,
    )
    with together(folder) as place:
        write_text(place / "crossval.csv", found.to_csv())
        write_text(place / PAGE, page)
        write_bytes(place / "roc.svg", roc)
        for figure in ("auc", "loss"):
            if (svg := draw_learning(found.learning, figure)) is not None:
                write_bytes(place / f"learning-{figure}.svg", svg)
        write_json(place / VALUES, found.to_json())
    return folder / PAGE
