"""`leukoscope train`: a recipe and a folder of cells in; a bundle and honest figures out."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._data import GROUPS, cache_folder, data_option, open_data
from leukoscope.cli._options import CACHE, JOBS, LIMIT, OVERRIDES, PROTOCOL
from leukoscope.cli._show import Terminal, research_use, show_lost
from leukoscope.progress import SILENT

if TYPE_CHECKING:
    from leukoscope.datasets.open import Sets
    from leukoscope.runs.run import Run
    from leukoscope.training.recipe import Recipe


@click.command()
@data_option()
@click.option("--recipe", default="paper", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option("--model", help="Network, instead of the recipe's. `leukoscope models` lists them.")
@click.option("--weights", metavar="FILE|none|hub", help="What it starts from; published networks: hub, ours: none.")
@click.option("--weights-sha256", metavar="HEX", help="What the file of weights must have.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; the same folder resumes it.")
@PROTOCOL
@click.option("--fold", type=int, help="Which fold is the test part.")
@click.option("--seed", type=int, help="Seed of weights, order and augmentation.")
@click.option("--epochs", type=int, help="At most so many epochs.")
@LIMIT
@OVERRIDES
@GROUPS
@click.option("--name", help="Name of the bundle.")
@click.option(
    "--left-out", multiple=True, type=click.Path(path_type=Path), metavar="RUN",
    help="A fold of the same recipe; give all of one split. Probabilities, band and patients' rule are fitted on what "
    "their networks said of patients that they never saw.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1 ...")
@CACHE
@JOBS
@click.option(
    "--as-row", is_flag=True, hidden=True,
    help="A row of a study: --data is a manifest, taken as it stands; the run ends when standard input closes.",
)  # fmt: skip
@research_use
def train(
    data: tuple[Path, ...],
    recipe: str,
    model: str | None,
    weights: str | None,
    weights_sha256: str | None,
    out: Path | None,
    protocol: str | None,
    fold: int | None,
    seed: int | None,
    epochs: int | None,
    limit: int | None,
    overrides: tuple[str, ...],
    groups: Path | None,
    name: str | None,
    left_out: tuple[Path, ...],
    device: str,
    cache: Path | None,
    jobs: int | None,
    as_row: bool,
) -> None:
    """Train a network, export the bundle, and measure the bundle on the test part.

    A run that was killed goes on where it stopped when the same command is given again. Under torchrun it uses all
    processes. The test part is not looked at before the end. Cells with their surroundings are cut out first; with
    several data sets, the figures of each are told apart, too, in sets.csv.
    """
    from leukoscope.errors import missing_extra

    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing_extra("training", "train") from error
    from leukoscope.datasets.open import stored_set
    from leukoscope.files import exclusive
    from leukoscope.models import model_spec
    from leukoscope.runs.train import train_run
    from leukoscope.training.recipe import load_recipe
    from leukoscope.training.runtime import start_runtime
    from leukoscope.workers import end_with_stdin

    options = {
        "model.name": model,
        "model.weights": None if weights is None else json.dumps(weights),  # a hash of digits stays text
        "model.weights_sha256": None if weights_sha256 is None else json.dumps(weights_sha256),
        "split.protocol": protocol,
        "split.fold": fold,
        "seed": seed,
        "epochs": epochs,
    }
    given = tuple(f"{key}={value}" for key, value in options.items() if value is not None)
    chosen = load_recipe(recipe, (*overrides, *given))
    model_spec(chosen.model.name)  # an unknown name is said at once
    cells = cache or cache_folder()
    if as_row:
        end_with_stdin()
        sets = stored_set(data[0])
    else:
        sets = open_data(data, groups, both_classes=True, cache=cells, jobs=jobs)
    manifest = sets.manifest
    folder = out or Path("runs") / _run_name(chosen)
    with ExitStack() as alone:
        with start_runtime(chosen.precision, device) as runtime:
            if runtime.is_main:
                alone.enter_context(exclusive(folder, "trains into"))
            talk = _Talk(quiet=not runtime.is_main)
            talk.say(chosen.to_yaml() + f"\ndata: {manifest.name}, {len(manifest)} pictures\nrun: {folder}")
            talk.say(f"device: {runtime.describe()}")
            talk.left_out(sets)
            run = train_run(
                manifest,
                chosen,
                folder,
                runtime,
                cache_folder=cells,
                pictures=limit,
                jobs=jobs,
                progress=SILENT if talk.quiet else Terminal(),
                on_step=talk.step,
                on_epoch=talk.epoch,
            )
            main = runtime.is_main
        if main:
            _finish(run, name or f"{chosen.model.name}-{chosen.name}", left_out, sets.reading)


def _finish(run: Run, name: str, folds: tuple[Path, ...], notes: tuple[str, ...]) -> None:
    """Bundle, calibration and figures, shown on the terminal."""
    from leukoscope.bundle.decision import calibration_claim, refer_claim
    from leukoscope.bundle.gate import gate_claim
    from leukoscope.runs.finish import finish_run
    from leukoscope.runs.measure import headline
    from leukoscope.runs.sets import set_line

    done = finish_run(run, name, folds=folds, notes=notes, progress=Terminal())
    split, decision = run.split, done.bundle.facts.decision
    if done.uncalibrated:
        click.echo(f"probabilities stay as the network states them: {done.uncalibrated}", err=True)
    if done.ungated:
        click.echo(f"no gate could be fitted: {done.ungated}", err=True)
    click.echo(f"test part: {len(split.test)} pictures, protocol {split.protocol}, fold {split.fold}")
    crossing = split.crossing_groups(run.dataset)
    if crossing:
        click.echo(f"WARNING: patients on both sides of the split: {', '.join(sorted(crossing))}")
    if run.shortened:
        click.echo(f"changed against the recipe: {run.shortened}")
    click.echo(headline(done.measured.evaluation))
    for part, figures in done.sets.items():
        click.echo(f"  {set_line(part, figures)}")
    click.echo(" ".join(part for part in (calibration_claim(decision), refer_claim(decision)) if part))
    click.echo(gate_claim(done.bundle.facts.gate))
    click.echo(f"bundle: {run.folder / 'bundle'}\nreport: {run.folder / 'evaluation' / 'report.html'}")


def _run_name(recipe: Recipe) -> str:
    return f"{recipe.name}-{recipe.model.name}-{recipe.split.protocol}{recipe.split.fold}-seed{recipe.seed}"


class _Talk:
    """Live progress on a terminal; one line an epoch anywhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._last = 0.0

    def say(self, text: str) -> None:
        if not self.quiet:
            click.echo(text)

    def left_out(self, sets: Sets) -> None:
        """What was found out about the data, and which pictures gave no cell."""
        for note in sets.reading:
            self.say(f"note: {note}")
        if not self.quiet:
            show_lost(sets.failed, word="left out", err=False)

    def step(self, at: dict[str, float]) -> None:
        self._show(f"epoch {at['epoch']:.0f}, step {at['step']:.0f}/{at['steps']:.0f}, loss {at['loss']:.4f}")

    def epoch(self, at: dict[str, float]) -> None:
        self._show("", last=True)
        member = f"member {at['member']:.0f}, " if "member" in at else ""
        self.say(
            f"{member}epoch {at['epoch']:3.0f}  loss {at['loss']:.4f}  val loss {at['val_loss']:.4f}  "
            f"val AUC {at['val_auc']:.4f}  lr {at['learning_rate']:.2g}  {at['seconds']:.1f} s"
        )

    def _show(self, text: str, *, last: bool = False) -> None:
        if self._live and (last or time.monotonic() - self._last > 0.2):
            self._last = time.monotonic()
            click.echo(f"\r\033[K{text}", nl=last and bool(text), err=True)
