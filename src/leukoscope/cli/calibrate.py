"""`leukoscope calibrate`: fit what a bundle states, and when it refuses, on patients that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from leukoscope.cli._data import GROUPS, data_option, open_data, unseen_cells
from leukoscope.cli._options import THREADS
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), metavar="BUNDLE_OR_RUN")
@data_option(required=False)
@GROUPS
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new bundle.  [default: in its place]")
@click.option(
    "--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.01, show_default=True,
    help="Share of blasts called normal that the band aims at.",
)  # fmt: skip
@click.option(
    "--confidence", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True,
    help="Of the band, where there are too few patients to promise anything for new ones.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["temperature"]),
    help="Fit the probabilities so.  [default: only if that is clearly better on left-out patients]",
)  # fmt: skip
@click.option("--gate", is_flag=True, help="Fit the gate too: which pictures are judged at all.")
@THREADS
@keeps_results()
def calibrate(
    bundle: Path,
    data: tuple[Path, ...],
    groups: Path | None,
    out: Path | None,
    level: float,
    confidence: float,
    method: Literal["temperature"] | None,
    gate: bool,
    threads: int | None,
) -> int:
    """Fit the probabilities of a bundle, and the band in which cells are referred.

    With --data: on its patient groups that the bundle was neither trained nor validated on. With a run folder alone: on
    the run's validation part, as `train` does; these groups may have chosen the epoch. No cell changes from blast to
    normal or back. Figures that no longer hold are taken out of the bundle. With --gate, the limits beyond which a
    picture is referred whatever its probability are fitted too: on the same pictures, or with a run folder on its
    training and validation part.
    """
    from leukoscope.bundle.decision import calibration_claim, refer_claim
    from leukoscope.bundle.gate import gate_claim
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.inference.classifier import Classifier
    from leukoscope.runs.calibrate import fit_rules, fit_rules_of_run
    from leukoscope.runs.run import RUN_FILE, Run

    is_run = (bundle / RUN_FILE).is_file()
    if not data and not is_run:
        raise click.UsageError("give --data, or a run folder whose validation part is to be used")
    run = Run.open(bundle) if is_run else None
    chosen = read_bundle(bundle) if run is None else run.bundle()
    folder = out or place_of(bundle, chosen)
    bare = chosen.with_facts(gate=None) if gate else chosen  # also where its gate belongs to another graph
    classifier = Classifier(bare, threads=threads)
    how: dict[str, Any] = {"level": level, "confidence": confidence, "method": method}
    if data or run is None:
        part = _unseen(chosen, data, groups)
        rules = fit_rules(classifier, part, gate=gate, progress=Terminal(), chose_epoch=False, **how)
    else:
        rules = fit_rules_of_run(run, classifier, gate=gate, progress=Terminal(), **how)
    for fault in (rules.uncalibrated, rules.ungated):
        if fault is not None:
            raise fault
    fitted = chosen.with_facts(decision=rules.decision, gate=rules.gate if gate else chosen.facts.gate)
    facts = fitted.write(folder).facts
    click.echo(calibration_claim(facts.decision))
    click.echo(refer_claim(facts.decision))
    click.echo(gate_claim(facts.gate))
    click.echo(f"bundle: {folder}")
    if facts.measured:
        click.echo("figures of the old probabilities were left out; measure again with `leukoscope evaluate`")
    show_lost([(answer.path, answer.error) for answer in rules.unreadable])
    return 1 if rules.unreadable else 0


def _unseen(bundle: Bundle, data: tuple[Path, ...], groups: Path | None) -> Manifest:
    from leukoscope.errors import DataError

    sets = open_data(data, groups, both_classes=True)
    show_lost(sets.failed, word="left out")
    unseen = unseen_cells(bundle, sets, calibrated=False)
    if not len(unseen):
        raise DataError(
            "holds no labelled picture of a patient group that the bundle has not seen",
            path=sets.manifest.root,
            remedy="calibrate on other patients",
        )
    return unseen
