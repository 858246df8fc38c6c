"""The paper reproduced: its protocol as stated beside clean ones, and every claim of it with a verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukoscope import _version
from leukoscope.bundle.read import read_bundle
from leukoscope.data.combining import combine, parts_of, set_names
from leukoscope.data.manifest import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.evaluation.glossary import BY_KEY as GLOSSARY
from leukoscope.evaluation.intervals import REPLICATES, Estimate
from leukoscope.evaluation.wording import with_interval
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.studies.claims import (
    CUSTOM,
    OPEN,
    RIVALS,
    RULE,
    Claim,
    Ruling,
    load_claims,
    rule_arithmetic,
    rule_better,
    rule_figure,
    rule_general,
    rule_lighter,
)
from leukoscope.studies.grid import run_grid
from leukoscope.studies.measuring import table_of
from leukoscope.studies.outcome import Outcome, is_finished
from leukoscope.studies.reproduce_figures import (
    SHOWN,
    Pooled,
    as_plain,
    differences,
    figures,
    part_figures,
    pooled,
    recentred,
)
from leukoscope.studies.reproduce_plan import ARMS, BY_KEY, Plan, find_given
from leukoscope.studies.row import Row

Say = Callable[[str], None]
FORMAT = "leukoscope-reproduction"
_COMBINED_ARMS = ("stated", "group")


def reproduce(
    sets: Sequence[Manifest],
    plan: Plan,
    folder: Path,
    *,
    cache_folder: Path,
    given: Sequence[Path] = (),
    train: bool = True,
    devices: Sequence[str] = ("auto",),
    jobs: int | None = None,
    isolated: bool = True,
    notes: Sequence[str] = (),
    replicates: int = REPLICATES,
    claims: Sequence[Claim] | None = None,
    say: Say = lambda _line: None,
) -> dict[str, Any]:
    """Train or reuse the runs of the plan, measure them, and decide about every claim.

    Args:
        sets: the data; claims are decided on the first. With more, each network trained on one is tested on the
            others, and all are combined.
        plan: what is trained.
        folder: runs lie in ``folder/runs``; started again, it goes on.
        cache_folder: of prepared frames.
        given: folders with finished runs to use instead of training.
        train: False trains nothing: what is not there is said to be not measured.
        devices: one run at a time on each.
        jobs: threads for decoding, of each run.
        isolated: False trains in this process.
        notes: what must be known of the data, in sentences.
        replicates: of the bootstrap.
        claims: None: those of the paper.
        say: called with lines that say what goes on.

    Returns:
        The whole result as plain JSON values; see ``docs/reproduction.md``.

    Raises:
        LeukoscopeError: the data or the folder are unusable. A run that fails is a row without figures.
    """
    home = sets[0].labelled()

    def runs(manifest: Manifest, rows: Sequence[Row]) -> list[Outcome]:
        where = folder / "runs" / manifest.name
        found = find_given(rows, manifest, [*given, where])
        rest = [row for row in rows if _slug(row) not in found]
        for row in rows:
            if _slug(row) in found:
                say(f"[{row.entry} fold {row.fold}] a finished run is used: {found[_slug(row)].folder.name}")
        if train and rest:
            made = run_grid(
                rest, manifest, where, cache_folder=cache_folder, devices=devices, jobs=jobs, isolated=isolated, say=say
            )
        else:
            made = tuple(_untrained(row, manifest, where) for row in rest)
        by_row = {_slug(each.row): each for each in made} | found
        return [replace(by_row[_slug(row)], row=row) for row in rows]

    study = _Study(home, plan, runs(home, plan.rows()), replicates)
    say("measuring")
    ruled = [row for claim in (load_claims() if claims is None else claims) for row in study.rule(claim)]
    value: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "leukoscope": _version.__version__,
        "machine": describe_machine(),
        "data": home.name,
        "fingerprint": home.fingerprint(),
        "pictures": len(home),
        "groups": len(set(home.groups().tolist())),
        "notes": list(notes),
        "plan": {
            "recipe": "paper",
            "models": list(plan.models),
            "folds": plan.folds,
            "epochs": plan.epochs,
            "limit": plan.limit,
            "seed": plan.seed,
            "overrides": list(plan.overrides),
            "weights": plan.weights,
        },
        "shortened": study.shortened,
        "rule": RULE,
        "arms": [{"key": arm.key, "title": arm.title, "protocol": arm.protocol} for arm in ARMS],
        "figures": study.table(),
        "worth": study.worth(),
        "claims": ruled,
        "across": _across(sets, study, say, replicates) if len(sets) > 1 else [],
        "combined": _combined(sets, plan, runs, replicates) if len(sets) > 1 else [],
    }
    return value


class _Study:
    """Runs of one data set by arm and network, and what follows from them."""

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
                    "sentence": _worth_sentence(model, falls, values, cells),
                    "shortened": self.pools["stated", model].shortened,
                }
            )
        return rows

    def rule(self, claim: Claim) -> list[dict[str, Any]]:
        """Rows of one claim: for every network it is about, on the paper's split and on new patients."""
        base = {"id": claim.id, "claim": claim.text, "place": claim.place, "claimed": claim.stated, "kind": claim.kind}
        if claim.kind == "none":
            return [base | {"model": "", "stated": _said(Ruling(OPEN, f"{claim.because}")), "new_patients": None}]
        if claim.kind == "arithmetic":
            assert claim.accuracy is not None
            return [base | {"model": "", "stated": _said(rule_arithmetic(claim.accuracy)), "new_patients": None}]
        rows: list[dict[str, Any]] = []
        for model in claim.models:
            row: dict[str, Any] = {**base, "model": model}
            if claim.kind == "figure":
                rows.append(row | {where: self._figure(claim, arm, model) for where, arm in _WHERE})
            elif claim.kind == "better":
                rows.append(row | {where: self._better(claim, arm, model) for where, arm in _WHERE})
            elif claim.kind == "lighter":
                rows.append(row | {"stated": self._lighter(claim, model), "new_patients": None})
            elif claim.kind == "part":
                rows.append(row | {"stated": self._part(claim, model), "new_patients": None})
            else:
                rows.append(row | {"stated": None, "new_patients": self._general(model)})
        return rows

    def _figure(self, claim: Claim, arm: str, model: str) -> dict[str, Any]:
        found = self.figures.get((arm, model))
        if found is None:
            return _said(Ruling(OPEN, self.why_missing(arm, model)))
        assert claim.figure is not None
        return _said(rule_figure(claim, found[claim.figure]), found[claim.figure], self.pools[arm, model])

    def _better(self, claim: Claim, arm: str, model: str) -> dict[str, Any]:
        assert claim.rival is not None
        mine, other = self.pools.get((arm, model)), self.pools.get((arm, claim.rival))
        if mine is None or other is None:
            return _said(Ruling(OPEN, self.why_missing(arm, claim.rival if mine is not None else model)))
        found = differences(other.scores, mine.scores, ("accuracy",), replicates=self.replicates)
        if found is None:
            return _said(Ruling(OPEN, "the two were tested on no common cells of both classes"))
        return _said(rule_better(found[0]["accuracy"]), found[0]["accuracy"], mine)

    def _lighter(self, claim: Claim, model: str) -> dict[str, Any]:
        assert claim.rival is not None
        try:
            for name in {model, claim.rival} - self.sizes.keys():
                self.sizes[name] = parameters(name)
        except LeukoscopeError as error:
            return _said(Ruling(OPEN, f"not measured here because {error}"))
        own, rival = self.sizes[model], self.sizes[claim.rival]
        return _said(rule_lighter(own, rival)) | {"reproduced": f"{own:,} against {rival:,} parameters"}

    def _part(self, claim: Claim, model: str) -> dict[str, Any]:
        assert claim.part is not None
        assert claim.claimed is not None
        done = [each for each in self.outcomes.get(("stated", model), ()) if each.ok]
        if not done:
            return _said(Ruling(OPEN, self.why_missing("stated", model)))
        try:
            found, cells = part_figures(done[0], self.manifest, claim.part)
        except LeukoscopeError as error:
            return _said(Ruling(OPEN, str(error)))
        said = _said(rule_figure(claim, found["accuracy"]), found["accuracy"], self.pools["stated", model])
        return said | {"cells": cells}

    def _general(self, model: str) -> dict[str, Any]:
        found = self.fall(model)
        if found is None:
            lacking = "stated" if ("stated", model) not in self.pools else "group"
            return _said(Ruling(OPEN, self.why_missing(lacking, model)))
        falls, _, _ = found
        told = ", ".join(f"{GLOSSARY[key].title} {with_interval(each)}" for key, each in falls.items())
        return _said(rule_general(falls), None, self.pools["group", model]) | {"reproduced": f"falls by: {told}"}


_WHERE = (("stated", "stated"), ("new_patients", "group"))


def parameters(model: str) -> int:
    """Parameters of a network, all layers unfrozen, at its default arguments.

    Raises:
        ModelError: there is no such network.
        MissingExtraError: its library is not installed.
    """
    from leukoscope.models import create_model  # noqa: PLC0415 - needs torch

    return sum(each.numel() for each in create_model(model).parameters())


def _said(ruling: Ruling, found: Estimate | None = None, pool: Pooled | None = None) -> dict[str, Any]:
    return {
        "verdict": ruling.verdict,
        "reason": ruling.reason,
        "figure": None if found is None else found.as_dict(),
        "reproduced": "" if found is None else with_interval(found),
        "shortened": None if pool is None else pool.shortened,
    }


def _worth_sentence(model: str, falls: dict[str, Estimate], values: dict[str, tuple[float, float]], cells: int) -> str:
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


def _slug(row: Row) -> str:
    try:
        return row.slug()
    except LeukoscopeError:
        return repr(row)


def _untrained(row: Row, manifest: Manifest, where: Path) -> Outcome:
    try:
        recipe, place = row.to_recipe(), where / row.slug()
    except LeukoscopeError as error:
        return Outcome(row, "failed", where, str(error))
    if is_finished(place, recipe, manifest, row.limit):
        return Outcome(row, "reused", place)
    return Outcome(row, "failed", place, "nothing was to be trained (--no-train) and no finished run of it was given")


def _across(sets: Sequence[Manifest], study: _Study, say: Say, replicates: int) -> list[dict[str, Any]]:
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


def _combined(
    sets: Sequence[Manifest],
    plan: Plan,
    runs: Callable[[Manifest, Sequence[Row]], list[Outcome]],
    replicates: int,
) -> list[dict[str, Any]]:
    """Networks trained on all sets combined, their figures of each set apart."""
    both = combine([each.labelled() for each in sets])
    study = _Study(both, plan, runs(both, plan.rows([BY_KEY[key] for key in _COMBINED_ARMS])), replicates)
    home = dict(zip((record.path for record in both.records), parts_of(both).tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for arm in _COMBINED_ARMS:
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
