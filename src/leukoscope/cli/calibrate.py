"""`leukoscope calibrate`: fit what a bundle states, and when it refuses, on patients that it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from leukoscope.cli._data import GROUPS, data_option, open_data, unseen_cells
from leukoscope.cli._options import THREADS
from leukoscope.cli._show import Terminal, show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.gate import GateFacts
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest
    from leukoscope.inference.classifier import Classifier


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
    from leukoscope.bundle.read import read_bundle
    from leukoscope.bundle.write import revise_bundle
    from leukoscope.fitting.decision import calibrate as fit
    from leukoscope.inference.classifier import Classifier
    from leukoscope.runs.measure import still_holding, table_of

    is_run = (bundle / "run.json").is_file()
    if not data and not is_run:
        raise click.UsageError("give --data, or a run folder whose validation part is to be used")
    chosen = read_bundle(bundle / "bundle" if is_run else bundle)
    if gate:  # also where the gate in the bundle belongs to another graph
        chosen = replace(chosen, facts=chosen.facts.model_copy(update={"gate": None}))
    part, steered = (_unseen(chosen, data, groups), False) if data else _validation_part(bundle)
    with Terminal().stage("calibrating", len(part)) as bar:
        scores, unreadable = table_of(Classifier(chosen, threads=threads), part, progress=bar)
    decision = fit(
        scores, chosen.facts.decision, data=part.name, chose_epoch=steered, level=level, confidence=confidence,
        method=method,
    )  # fmt: skip
    fitted = _gate(Classifier(chosen, threads=threads), part, None if data else bundle) if gate else None
    folder = out or chosen.folder
    facts = revise_bundle(chosen, folder, decision=decision, measured=still_holding(chosen.facts.measured), gate=fitted)
    click.echo(calibration_claim(decision))
    click.echo(refer_claim(decision))
    click.echo(gate_claim(facts.gate))
    click.echo(f"bundle: {folder}")
    if facts.measured:
        click.echo("figures of the old probabilities were left out; measure again with `leukoscope evaluate`")
    show_lost([(answer.path, answer.error) for answer in unreadable])
    return 1 if unreadable else 0


def _validation_part(run: Path) -> tuple[Manifest, bool]:
    """The validation part of a run, and whether it decided about the weights."""
    from leukoscope.runs.measure import read_run
    from leukoscope.training.recipe import Recipe

    facts, manifest, split = read_run(run)
    return manifest.select(split.val), Recipe.model_validate(facts["recipe"]).steered_by_validation


def _gate(classifier: Classifier, unseen: Manifest, run: Path | None) -> GateFacts:
    """A gate fitted on unseen pictures, or on the training and validation part of a run."""
    import numpy as np

    from leukoscope.runs.gate import gate_pictures, measure_gate
    from leukoscope.runs.measure import read_run

    part, held_out = unseen, np.ones(len(unseen), dtype=np.bool_)
    if run is not None:
        _, manifest, split = read_run(run)
        rows, held_out = gate_pictures(manifest, split.train, split.val)
        part = manifest.select(rows)
    with Terminal().stage("fitting the gate", len(part)) as done:
        return measure_gate(classifier, part, held_out, progress=done)


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
