"""`leukoscope evaluate`: measure a bundle on labelled pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.data.manifest import Manifest


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to measure; the default one otherwise.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder or CSV of labelled cells.")
@click.option("--groups", type=click.Path(path_type=Path), help="CSV of subject,group; overrides the known groups.")
@click.option("--include-trained", is_flag=True, help="Also measure on groups that the bundle was trained on.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the report.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use.")
def evaluate(
    run: Path | None,
    bundle: Path | None,
    data: Path | None,
    groups: Path | None,
    include_trained: bool,
    out: Path | None,
    threads: int | None,
) -> None:
    """Measure the test part of RUN again, or a bundle on the data set of --data.

    Groups that the bundle was trained, validated or calibrated on are left out, unless asked for.
    """
    from leukoscope.bundle.read import default_bundle, read_bundle
    from leukoscope.inference.classifier import Classifier
    from leukoscope.machine import describe_machine
    from leukoscope.studies.measuring import headline, measure, write_measured

    if (run is None) == (data is None):
        raise click.UsageError("give either a run folder or --data")
    if run is not None:
        chosen = read_bundle(bundle or run / "bundle")
        part, protocol, context = _test_part(run, chosen)
        folder = out or run / "evaluation"
    else:
        assert data is not None
        chosen = read_bundle(bundle or default_bundle())
        part, protocol, context = _unseen_part(chosen, data, groups, include_trained)
        folder = out or Path("evaluation")
    classifier = Classifier(chosen, threads=threads)
    facts = chosen.facts
    context |= {"model": facts.name, "machine": describe_machine()}
    if facts.training is not None:
        context |= {"trained_on": facts.training.groups_trained, "shortened": facts.training.shortened}
    with click.progressbar(length=len(part), label="measuring", file=sys.stderr) as bar:
        measured = measure(classifier, part, protocol=protocol, context=context, progress=bar.update)
    write_measured(measured, folder)
    click.echo(f"{facts.name} on {part.name}: {len(measured.scores.path)} pictures, protocol {protocol}")
    click.echo(headline(measured.evaluation))
    for note in measured.evaluation.notes:
        click.echo(f"note: {note}")
    click.echo(f"report: {folder / 'report.html'}")
    if measured.unreadable:
        for answer in measured.unreadable[:10]:
            click.echo(f"unreadable: {answer.path}: {answer.error}", err=True)
        click.echo(f"{len(measured.unreadable)} pictures could not be read and are in no figure", err=True)
        raise SystemExit(1)


def _test_part(run: Path, bundle: Bundle) -> tuple[Manifest, str, dict[str, Any]]:
    from leukoscope.studies.measuring import read_run

    facts, manifest, split = read_run(run)
    context = {
        "data": facts["data"],
        "fingerprint": facts["fingerprint"],
        "fold": split.fold,
        "seed": split.seed,
    }
    part = manifest.select(split.test)
    fitted = bundle.facts.decision.calibration
    used = set(part.groups().tolist()) & set(fitted.groups if fitted and fitted.data == part.name else ())
    if used and split.protocol == "group":
        context["warning"] = f"Probabilities and band were fitted on {len(used)} of these patient groups."
    return part, split.protocol, context


def _unseen_part(
    bundle: Bundle, data: Path, groups: Path | None, include_trained: bool
) -> tuple[Manifest, str, dict[str, Any]]:
    from leukoscope.data.groups import apply_groups, read_groups
    from leukoscope.data.readers import read_dataset
    from leukoscope.errors import DataError
    from leukoscope.studies.measuring import unseen_by

    manifest = read_dataset(data).labelled()
    if groups is not None:
        manifest = apply_groups(manifest, read_groups(groups))
    if len(manifest) == 0:
        raise DataError("no picture has a label", path=data, remedy="add class folders or a label column")
    context: dict[str, Any] = {"data": manifest.name, "fingerprint": manifest.fingerprint()}
    training, fitted = bundle.facts.training, bundle.facts.decision.calibration
    home = training is not None and training.data == manifest.name
    if not home and (fitted is None or fitted.data != manifest.name):
        return manifest, "external", context
    unseen = unseen_by(bundle, manifest)
    if include_trained:
        context["warning"] = "holds groups that the bundle was trained on"
        return manifest, "all groups, trained ones too", context
    if not len(unseen):
        raise DataError(
            "the bundle was trained or calibrated on every group of this data set",
            path=data,
            remedy="use other patients, or --include-trained for figures that mean nothing for new ones",
        )
    click.echo(f"{len(manifest) - len(unseen)} pictures of groups that the bundle has seen are left out", err=True)
    return unseen, "unseen groups" if home else "external", context
