"""The paper reproduced: its protocol as stated beside clean ones, and every claim of it with a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukoscope import _version
from leukoscope.datasets.combine import combine
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import REPLICATES
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import is_measured
from leukoscope.studies.compare.grid import run_grid
from leukoscope.studies.paper.claims import RULE, Claim, load_claims
from leukoscope.studies.paper.rulings import rule
from leukoscope.studies.paper.study import ARMS, ReproductionPlan, Study, across, combined, find_given

Say = Callable[[str], None]
FORMAT = "leukoscope-reproduction"


def reproduce(
    sets: Sequence[Manifest],
    plan: ReproductionPlan,
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
    both = combine([each.labelled() for each in sets])  # sets that cannot be combined are refused before hours of work

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

    study = Study(home, plan, runs(home, plan.rows()), replicates)
    say("measuring")
    ruled = [row for claim in (load_claims() if claims is None else claims) for row in rule(study, claim)]
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
        "across": across(sets, study, say, replicates) if len(sets) > 1 else [],
        "combined": combined(both, plan, runs, replicates) if len(sets) > 1 else [],
    }
    return value


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
    if is_measured(place, recipe, manifest, row.limit):
        return Outcome(row, "reused", place)
    return Outcome(row, "failed", place, "nothing was to be trained (--no-train) and no finished run of it was given")
