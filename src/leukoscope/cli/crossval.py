"""`leukoscope crossval`: one recipe on every fold, with several seeds, and one report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from leukoscope.cli._data import GROUPS, cache_folder, data_option, open_data
from leukoscope.cli._options import CACHE, EPOCHS, LIMIT, OVERRIDES
from leukoscope.cli._results import REPLACE, check_results
from leukoscope.cli._show import research_use, show_lost


@click.command()
@data_option()
@click.option("--recipe", default="paper", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option("--model", help="Network, instead of the recipe's. `leukoscope models` lists them.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="How many folds.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many seeds: 0, 1 ...")
@click.option(
    "--protocol", type=click.Choice(["group", "subject", "official", "laboratory"]),
    help="How to split; official and laboratory have as many folds as the data.  [default: the recipe's]",
)  # fmt: skip
@EPOCHS
@LIMIT
@OVERRIDES
@GROUPS
@click.option("--out", type=click.Path(path_type=Path), default=Path("crossval"), show_default=True)
@REPLACE
@click.option("--device", "devices", multiple=True, help="cpu, cuda:1 ...  [default: all CUDA devices, or cpu]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time on each device.")
@CACHE
@research_use
def crossval(
    data: tuple[Path, ...],
    recipe: str,
    model: str | None,
    folds: int,
    seeds: int,
    protocol: str | None,
    epochs: int | None,
    limit: int | None,
    overrides: tuple[str, ...],
    groups: Path | None,
    out: Path,
    replace: bool,
    devices: tuple[str, ...],
    jobs: int,
    cache: Path | None,
) -> int:
    """Train a recipe on every fold with several seeds, and write crossval.html, .json and .csv.

    Each cell is judged by the network that never saw its fold. Killed and given again, the command goes on: finished
    runs are reused. Meanwhile curves.html shows how the runs learn; open it in a browser, it shows itself anew. Where a
    run fails, the others finish, no report is written, and the exit code is 1.
    """
    from leukoscope.errors import missing_extra
    from leukoscope.files import exclusive

    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing_extra("training", "train") from error
    from leukoscope.machine import busy, cpu_count
    from leukoscope.reports.wording import with_interval
    from leukoscope.runs.live import LivePage
    from leukoscope.studies.compare.ahead import check_ahead
    from leukoscope.studies.compare.crossval import VALUES, cross_validate, crossval_rows, plan_digest, write_crossval
    from leukoscope.studies.compare.grid import all_devices, run_grid

    folder = cache or cache_folder()
    with exclusive(out, "cross-validates in"):
        sets = open_data(data, groups, both_classes=True, cache=folder)
        show_lost(sets.failed, word="left out")
        changes = (*overrides, *(() if epochs is None else (f"epochs={epochs}",)))
        rows = crossval_rows(
            recipe, sets.manifest, folds=folds, seeds=range(seeds), model=model, protocol=protocol, overrides=changes,
            limit=limit,
        )  # fmt: skip
        plan = plan_digest(rows, sets.manifest)
        if not replace:
            check_results(out / VALUES, plan, lambda found: f"{found['entry']['name']}, {len(found['runs'])} runs")
        check_ahead(rows, sets.manifest)
        click.echo(
            f"{len(rows)} runs of {rows[0].entry}, {len(sets.manifest)} pictures; runs: {out / 'runs'}", err=True
        )
        places = {f"fold {row.fold}, seed {row.seed}": out / "runs" / row.slug() for row in rows}
        live = LivePage(out, places, f"Cross-validation of {rows[0].entry}")

        def say(line: str) -> None:
            click.echo(line, err=True)
            live.draw()

        load = busy()
        devices = (devices or all_devices()) * jobs
        share = max(1, cpu_count() // len(devices))
        outcomes = run_grid(
            rows, sets.manifest, out / "runs", cache_folder=folder, devices=devices, jobs=share,
            threads=share if jobs > 1 else None, say=say,
        )  # fmt: skip
        live.draw(finished=True)
        failed = [each for each in outcomes if not each.ok]
        for each in failed:
            click.echo(f"failed: fold {each.row.fold}, seed {each.row.seed}: {each.reason}", err=True)
        if failed:
            click.echo("no report: give the command again once that is mended; finished runs are reused", err=True)
            return 1
        command = shlex.join(["leukoscope", *sys.argv[1:]])
        found = cross_validate(outcomes, run=plan, context={"command": command, "load": load})
        page = write_crossval(found, out)
    click.echo(f"AUC {with_interval(found.measure.figures['auc'])} over all folds")
    if found.worst is not None:
        click.echo(f"worst fold {found.worst}: AUC {with_interval(found.folds[found.worst]['auc'])}")
    click.echo(f"report: {page}")
    return 0
