"""`leukoscope compare`: several networks on the same cells, with what each one costs, in one table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leukoscope.cli._data import GROUPS, cache_folder, data_option, open_data
from leukoscope.cli._options import CACHE, EPOCHS, JOBS, LIMIT, PROTOCOL
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import research_use, show_lost

if TYPE_CHECKING:
    from leukoscope.datasets.dataset import Manifest
    from leukoscope.runs.recipe_row import Outcome
    from leukoscope.studies.compare.cost import Subject
    from leukoscope.studies.compare.plan import Plan
    from leukoscope.studies.compare.table import Comparison


@click.command()
@click.argument("plan_file", required=False, type=click.Path(path_type=Path), metavar="[PLAN.yaml]")
@data_option(required=False)
@click.option("--model", "models", multiple=True, help="Network to train; give it for each. `leukoscope models`.")
@click.option("--recipe", "recipes", multiple=True, help="Recipe; each network is trained by each.  [default: paper]")
@click.option("--run", "runs", multiple=True, metavar="[NAME=]FOLDER", help="A run that is trained; one NAME pools.")
@click.option("--bundle", "bundles", multiple=True, metavar="[NAME=]FOLDER", help="A bundle, for what it costs.")
@PROTOCOL
@click.option("--fold", type=click.IntRange(min=0), multiple=True, help="Fold to test on; give it for each.")
@click.option("--folds", type=click.IntRange(min=2), help="How many folds there are.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Seed of training; give it for each.")
@EPOCHS
@LIMIT
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of all recipes.")
@GROUPS
@click.option("--reference", help="Row that differences are taken to.  [default: the first]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("comparison"), show_default=True)
@click.option("--cost/--no-cost", default=True, help="Measure what each row costs.")
@click.option("--cost-only", is_flag=True, help="Train nothing: what untrained networks cost.")
@click.option("--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="Per row and setting timed.")
@click.option(
    "--batch", "batches", type=click.IntRange(min=1), multiple=True, default=(1, 32), show_default=True,
    help="Cells per timed call; give it for each.",
)  # fmt: skip
@click.option("--device", "devices", multiple=True, help="cpu, cuda:1 ...  [default: all CUDA devices, or cpu]")
@CACHE
@JOBS
@keeps_results("comparison.json")
@research_use
def compare(
    plan_file: Path | None,
    data: tuple[Path, ...],
    models: tuple[str, ...],
    recipes: tuple[str, ...],
    runs: tuple[str, ...],
    bundles: tuple[str, ...],
    protocol: str | None,
    fold: tuple[int, ...],
    folds: int | None,
    seeds: tuple[int, ...],
    epochs: int | None,
    limit: int | None,
    overrides: tuple[str, ...],
    groups: Path | None,
    reference: str | None,
    out: Path,
    cost: bool,
    cost_only: bool,
    seconds: float,
    batches: tuple[int, ...],
    devices: tuple[str, ...],
    cache: Path | None,
    jobs: int | None,
) -> int:
    """Train or reuse runs, and write comparison.html, .json and .csv.

    Rows come from PLAN.yaml, from flags, or from both. With --protocol laboratory each --data is left out in turn, and
    the others train. Killed and given again, the command goes on: finished runs are
    reused. A row that fails says why in the table, the others finish, and the exit code is 1.
    """
    from leukoscope.errors import missing_extra
    from leukoscope.files import exclusive

    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing_extra("comparing networks", "train") from error
    from leukoscope.machine import busy
    from leukoscope.studies.compare.plan import read_plan
    from leukoscope.studies.compare.report import write_comparison
    from leukoscope.studies.compare.table import compare_runs

    if epochs is not None:
        overrides = (*overrides, f"epochs={epochs}")
    given = {
        "data": data, "groups": groups, "models": models, "recipes": recipes, "protocol": protocol, "fold": fold,
        "folds": folds, "seeds": seeds, "limit": limit, "set": overrides, "reference": reference,
        "entries": _given_entries(runs, bundles),
    }  # fmt: skip
    plan = read_plan(plan_file, given)
    say = partial(click.echo, err=True)
    with exclusive(out, "compares in"):
        load = busy()
        outcomes = () if cost_only else _outcomes(plan, out / "runs", cache or cache_folder(), devices, jobs, say)
        costs, faults = _costs(plan, outcomes, seconds, batches, say) if cost or cost_only else ({}, {})
        comparison = compare_runs(
            outcomes,
            reference=plan.reference,
            costs=costs,
            faults=faults,
            names=tuple(plan.lines),
            context={"command": shlex.join(["leukoscope", *sys.argv[1:]]), "load": load},
        )
        page = write_comparison(comparison, out)
    _show(comparison)
    click.echo(f"report: {page}")
    for name, why in comparison.faults.items():
        click.echo(f"missing: {name}: {why}", err=True)
    return 1 if comparison.faults else 0


def _given_entries(runs: tuple[str, ...], bundles: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Runs of one name are one entry; a run without a name bears that of its network."""
    from leukoscope.runs.recipe_row import Outcome

    named: dict[str, list[Path]] = {}
    for text in runs:
        name, equals, folder = text.rpartition("=")
        path = Path(folder if equals else text)
        named.setdefault(name or Outcome.given(path).row.entry, []).append(path)
    entries: list[dict[str, Any]] = [{"name": name, "runs": tuple(paths)} for name, paths in named.items()]
    for text in bundles:
        name, _, folder = text.rpartition("=")
        entries.append({"name": name or Path(folder).name, "bundle": Path(folder)})
    return tuple(entries)


def _outcomes(
    plan: Plan, folder: Path, cache: Path, devices: tuple[str, ...], jobs: int | None, say: Callable[[str], None]
) -> tuple[Outcome, ...]:
    """Rows trained or reused, and runs that were given."""
    from leukoscope.errors import LeukoscopeError
    from leukoscope.runs.recipe_row import Outcome, Row
    from leukoscope.studies.compare.ahead import check_ahead
    from leukoscope.studies.compare.grid import all_devices, run_grid

    given: list[Outcome] = []
    for name, entry in plan.lines.items():
        for run in entry.runs:
            try:
                given.append(Outcome.given(run, name))
            except LeukoscopeError as error:
                given.append(Outcome(Row(name), "failed", run, str(error)))
    rows = plan.rows()
    if not rows:
        return tuple(given)
    _check_names(plan)
    manifest = _data(plan, cache, jobs)
    check_ahead(rows, manifest, given, plan.reference)
    say(f"{len(rows)} runs on {manifest.name}, {len(manifest)} pictures; runs: {folder}")
    used = devices or all_devices()
    return (*run_grid(rows, manifest, folder, cache_folder=cache, devices=used, jobs=jobs, say=say), *given)


def _data(plan: Plan, cache: Path, jobs: int | None) -> Manifest:
    if not plan.data:
        raise click.UsageError("give --data: there are networks to train (or --cost-only)")
    sets = open_data(plan.data, plan.groups, both_classes=True, cache=cache, jobs=jobs)
    for note in sets.notes:
        click.echo(f"note: {note}", err=True)
    show_lost(sets.failed, word="left out")
    return sets.manifest


def _check_names(plan: Plan) -> None:
    """A name that nobody knows is a slip of the pen: it stops the command before hours of training."""
    from leukoscope.models import model_spec

    for row in plan.rows():
        model_spec(row.to_recipe().model.name)


def _costs(
    plan: Plan, outcomes: tuple[Outcome, ...], seconds: float, batches: tuple[int, ...], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, str]]:
    from leukoscope.bundle.read import read_bundle
    from leukoscope.studies.compare.cost import each_subject, subject_of_bundle, subject_of_row, subject_of_run
    from leukoscope.studies.compare.table import measure_costs

    makers: dict[str, Callable[[], Subject]] = {}
    rows = {row.entry: row for row in reversed(plan.rows())}
    done = {each.row.entry: each for each in reversed(outcomes) if each.ok}
    for name, entry in plan.lines.items():
        if entry.bundle is not None:
            makers[name] = partial(lambda n, folder: subject_of_bundle(n, read_bundle(folder)), name, entry.bundle)
        elif name in done:
            makers[name] = partial(subject_of_run, name, done[name])
        elif name in rows:
            makers[name] = partial(subject_of_row, name, rows[name])
    subjects, faults = each_subject(makers, say=say)
    costs, more = measure_costs(subjects, say=say, seconds=seconds, batches=batches)
    return costs, {**faults, **more}


def _show(comparison: Comparison) -> None:
    """The table in short."""
    from leukoscope.reports.wording import with_interval
    from leukoscope.text import decimal

    width = max(map(len, comparison.names))
    for name in comparison.names:
        words = []
        if name in comparison.measures:
            measure = comparison.measures[name]
            words.append(f"AUC {with_interval(measure.figures['auc'])}")
            if found := measure.differences.get("auc"):
                words.append(
                    f"minus {comparison.reference} {decimal(found.value)} ({found.low:+.3f} to {found.high:+.3f})"
                )
        if name in comparison.costs:
            cost = comparison.costs[name]
            words.append(f"{cost.counts.file_bytes / 1e6:.2f} MB")
            if taken := cost.time("onnxruntime", 1, 1):
                words.append(f"{taken.median:.1f} ms per cell on one thread (processor {taken.cpu:.1f})")
        if name in comparison.faults and not words:
            words.append("missing")
        click.echo(f"{name:<{width}}  {', '.join(words)}")
        left_out = comparison.measures[name].laboratories if name in comparison.measures else {}
        for laboratory, figures in left_out.items():
            click.echo(f"{'':<{width}}  {laboratory} left out: AUC {with_interval(figures['auc'])}")
