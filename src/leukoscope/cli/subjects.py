"""`leukoscope subjects`: fit how the cells of one patient become one statement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Bundle that the rule is for.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new bundle.  [default: in its place]")
@click.option(
    "--decide", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of patients left out of the fit that is to be decided; the lowest alarm level that does it is taken.  "
    "[default: 0.8]",
)  # fmt: skip
@click.option(
    "--alarm-level", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Instead: share of people without blasts stated to have them, at most, on average.",
)  # fmt: skip
@click.option(
    "--missed-level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, show_default=True,
    help="Share of patients with blasts of whom none are seen, at most, on average.",
)  # fmt: skip
@click.option("--min-cells", type=click.IntRange(2), default=20, show_default=True, help="Fewer are too few to state.")
def subjects(
    runs: tuple[Path, ...],
    bundle: Path,
    out: Path | None,
    decide: float | None,
    alarm_level: float | None,
    missed_level: float,
    min_cells: int,
) -> None:
    """Fit the rule by which `predict --by patient` and `field` state a patient, on the test parts of RUN...

    The runs are the folds of one split by patient group, of the same network and recipe as the bundle: each patient was
    answered by a network that never saw it. The bundle holds the rule, what it was fitted on, and its errors on
    patients, and on networks, left out of the fit.
    """
    from leukoscope.bundle.decision import logit_at
    from leukoscope.bundle.patients import subject_claim
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.fitting.patients import DECIDED, fit_deciding, fit_subjects, patients_of, subject_errors
    from leukoscope.runs.run import Run

    if decide is not None and alarm_level is not None:
        raise click.UsageError("give either --decide or --alarm-level")
    wanted = None if alarm_level is not None else decide or DECIDED
    chosen = read_bundle(bundle)
    folder = out or place_of(bundle, chosen)
    names = [_check_alike(chosen, run) for run in runs]
    rule = chosen.facts.decision
    logit = logit_at(rule.threshold, rule)
    patients = patients_of([Run.open(run).scores() for run in runs], logit)
    how: dict[str, Any] = {"data": names[0], "protocol": _protocol(len(runs)), "logit": logit, "min_cells": min_cells,
                           "missed_level": missed_level}  # fmt: skip
    if alarm_level is not None:
        fitted = fit_subjects(patients, **how, alarm_level=alarm_level)
    else:
        fitted = fit_deciding(patients, decide or DECIDED, **how)
    parts = (False, True) if len(runs) > 1 else (False,)
    errors = [subject_errors(patients, fitted, whole_parts=whole, decided=wanted) for whole in parts]
    made = chosen.with_facts(subjects=fitted.model_copy(update={"errors": errors})).write(folder)
    click.echo(subject_claim(made.facts))
    click.echo(f"bundle: {folder}")


def _protocol(runs: int) -> str:
    if runs == 1:
        return "the test part of one split by patient group"
    return f"the test parts of {runs} networks, pooled: each patient answered by a network that never saw it"


def _check_alike(bundle: Bundle, run: Path) -> str:
    """Name of the run's data; an error where its network or its preparation is another than the bundle's."""
    from leukoscope.errors import DataError
    from leukoscope.runs.run import Run

    found = Run.open(run)
    split = found.split
    if split.protocol != "group":
        raise DataError(
            f"was split by {split.protocol}: its patients are not new to the network", path=run,
            remedy="give runs split by group",
        )  # fmt: skip
    ours, theirs = bundle.facts, found.bundle().facts
    if ours.training is None or theirs.training is None:
        raise DataError("the bundle does not say how it was trained", path=bundle.folder)
    pairs = {
        "network": (ours.training.model, theirs.training.model),
        "arguments": (ours.training.arguments, theirs.training.arguments),
        "recipe": (ours.training.recipe, theirs.training.recipe),
        "shortening": (ours.training.shortened, theirs.training.shortened),
        "input size": (ours.input_size, theirs.input_size),
        "preparation": (ours.preparation, theirs.preparation),
        "data": (ours.training.data, found.dataset.name),
    }
    for name, (mine, other) in pairs.items():
        if mine != other:
            raise DataError(
                f"has another {name} than the bundle ({other} and {mine})", path=run,
                remedy="give the folds that belong to the bundle",
            )  # fmt: skip
    return found.dataset.name
