"""`leukoscope subjects`: fit how the cells of one patient become one statement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from leukoscope.cli._results import keeps_results


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
@keeps_results()
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
    from leukoscope.runs.folds import fold_answers

    if decide is not None and alarm_level is not None:
        raise click.UsageError("give either --decide or --alarm-level")
    wanted = None if alarm_level is not None else decide or DECIDED
    chosen = read_bundle(bundle)
    folder = out or place_of(bundle, chosen)
    told = fold_answers(chosen, runs)
    rule = chosen.facts.decision
    logit = logit_at(rule.threshold, rule)
    patients = patients_of(told.tables, logit)
    how: dict[str, Any] = {"data": told.data, "protocol": told.protocol, "logit": logit, "min_cells": min_cells,
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
