"""`leukoscope reproduce`: published protocols run again, and what became of their claims."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._data import cache_folder, open_data
from leukoscope.cli._options import CACHE, EPOCHS, JOBS, OVERRIDES
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import research_use


@click.group()
def reproduce() -> None:
    """Run a published protocol again, and decide about its claims."""


@reproduce.command()
@click.option(
    "--data", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Labelled cells; a second one is for tests across sets and for training on both.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("reproduction"), show_default=True
)
@click.option("--limit", type=click.IntRange(min=40), help="Use only so many pictures; every figure will say so.")
@EPOCHS
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of subjects and of groups.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, order and augmentation.")
@click.option(
    "--model", "models", multiple=True, help="Only these networks.  [default: the paper's own and its rivals]"
)
@click.option("--weights", help="What the rivals start from: none, or a file.  [default: their published weights]")
@OVERRIDES
@click.option(
    "--runs", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with finished runs to use instead of training them again.",
)  # fmt: skip
@click.option("--train/--no-train", default=True, help="Whether to train what is not there.")
@click.option("--device", "devices", multiple=True, help="cpu, cuda:0 ...; several take runs in turn.  [default: auto]")
@CACHE
@JOBS
@keeps_results("reproduction.json")
@research_use
def paper(
    data: tuple[Path, ...],
    out: Path,
    limit: int | None,
    epochs: int | None,
    folds: int,
    seed: int,
    models: tuple[str, ...],
    weights: str | None,
    overrides: tuple[str, ...],
    runs: tuple[Path, ...],
    train: bool,
    devices: tuple[str, ...],
    cache: Path | None,
    jobs: int | None,
) -> None:
    """Reproduce the paper that Leukoscope starts from, and say of each of its claims what became of it.

    Its protocol as stated (pictures drawn 80:20, CLAHE for the custom network only) is run beside the same with CLAHE
    for all, a split by subject, and a split by patient group. Killed and started again, it goes on.

    Exit code: 0 all runs have figures, 1 some have none (the report says why), 2 wrong usage or unusable data.
    """
    from leukoscope.errors import missing_extra

    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing_extra("reproducing the paper", "train") from error
    from leukoscope.files import exclusive
    from leukoscope.models import model_spec
    from leukoscope.studies.paper.claims import CUSTOM, RIVALS
    from leukoscope.studies.paper.report import lines, write_reproduction
    from leukoscope.studies.paper.reproduce import reproduce as run
    from leukoscope.studies.paper.study import ReproductionPlan

    for name in models:
        model_spec(name)  # an unknown name is refused before anything is trained
    cells = cache or cache_folder()
    read = [open_data([path], both_classes=True, cache=cells, jobs=jobs) for path in data]
    notes = [note for each in read for note in each.notes]
    notes += [f"left out: {path}: {reason}" for each in read for path, reason in each.failed]
    plan = ReproductionPlan(
        models=models or (*CUSTOM, *RIVALS),
        folds=folds,
        epochs=epochs,
        limit=limit,
        seed=seed,
        overrides=overrides,
        weights=weights,
    )
    with exclusive(out, "reproduces into"):
        value = run(
            [each.manifest for each in read],
            plan,
            out,
            cache_folder=cells,
            given=runs,
            train=train,
            devices=devices or ("auto",),
            jobs=jobs,
            notes=notes,
            say=click.echo,
        )
        page = write_reproduction(value, out)
    for line in lines(value):
        click.echo(line)
    click.echo(f"report: {page}")
    wanted = set(plan.models)
    if any("missing" in row and row["model"] in wanted for row in value["figures"]):
        raise SystemExit(1)
