"""`leukoscope evaluate`: measure a bundle on labelled pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._data import GROUPS, data_option, open_data
from leukoscope.cli._options import THREADS
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, research_use, show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest
    from leukoscope.datasets.open import Sets
    from leukoscope.inference.classifier import Classifier
    from leukoscope.metrics.provenance import Provenance


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to measure; the default one otherwise.")
@data_option(required=False)
@click.option(
    "--all", "all_of", type=click.Choice(["normal", "blast"]), help="Every picture of --data is of this class."
)
@GROUPS
@click.option("--include-trained", is_flag=True, help="Also measure on groups that the bundle was trained on.")
@click.option("--audit", is_flag=True, help="Audit heat maps and shortcuts on the same pictures.")
@click.option(
    "--audit-cells", type=click.IntRange(min=8), default=240, show_default=True, help="How many of them at most."
)
@click.option("--write", is_flag=True, help="With --audit: record figures and verdict in the bundle.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the report.")
@THREADS
@keeps_results(
    "metrics.json", "explanations.json", "shortcuts.json",
    default=lambda asked: (asked["run"] or Path()) / "evaluation",
    own=lambda asked: asked["run"] is not None and asked["bundle"] is None and asked["out"] is None,
)  # fmt: skip
@research_use
def evaluate(
    run: Path | None,
    bundle: Path | None,
    data: tuple[Path, ...],
    all_of: str | None,
    groups: Path | None,
    include_trained: bool,
    audit: bool,
    audit_cells: int,
    write: bool,
    out: Path | None,
    threads: int | None,
) -> None:
    """Measure the test part of RUN again, or a bundle on the data sets of --data.

    Groups that the bundle was trained, validated or calibrated on are left out, unless asked for. Cells with their
    surroundings are cut out first. Several data sets are also told apart, in sets.csv. Where all pictures are of one
    class, only what rests on that class can be measured. The report tells how the bundle came out of its audits; with
    --audit they are run now (see `leukoscope audit`; needs the extra train).
    """
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.datasets.record import class_of
    from leukoscope.files import exclusive, together
    from leukoscope.inference.classifier import Classifier
    from leukoscope.machine import describe_machine
    from leukoscope.runs.measure import headline, measure
    from leukoscope.runs.sets import SETS, by_set, set_line, write_figures

    if (run is None) == (not data):
        raise click.UsageError("give either a run folder or --data")
    if write and not audit:
        raise click.UsageError("--write records what --audit finds: give both")
    lost: tuple[tuple[str, str], ...] = ()
    if run is not None:
        chosen = read_bundle(bundle or run / "bundle")
        whole, part, provenance = _test_part(run, chosen)
        notes: list[str] = []
        folder = out or run / "evaluation"
    else:
        chosen = read_bundle(bundle or "default")
        if write:
            place_of(bundle or "default", chosen)
        label = None if all_of is None else class_of(all_of)
        sets = open_data(data, groups, label=label)
        whole = sets.manifest
        part, provenance, notes = _unseen_part(chosen, sets, include_trained)
        lost = sets.failed
        folder = out or Path("evaluation")
    classifier = Classifier(chosen, threads=threads)
    facts = chosen.facts
    training = facts.training
    provenance = replace(
        provenance, model=facts.name, machine=describe_machine(),
        trained_on=None if training is None else tuple(training.groups_trained),
        shortened=None if training is None else training.shortened,
    )  # fmt: skip
    # The report and the audits that it links to are one generation.
    with exclusive(folder, "evaluates into"), together(folder, gone=SETS) as place:
        if audit:
            provenance = _audited(provenance, classifier, whole, part, place, audit_cells, write=write)
        with Terminal().stage("measuring", len(part)) as bar:
            measured = measure(classifier, part, provenance, progress=bar)
        told = by_set(measured.scores, part, facts.decision.threshold, measured.evaluation.provenance)
        write_figures(measured, told, place)
    click.echo(f"{facts.name} on {part.name}: {len(measured.scores.path)} pictures, protocol {provenance.protocol}")
    click.echo(headline(measured.evaluation))
    for name, each in told.items():
        click.echo(f"  {set_line(name, each)}")
    for note in (*notes, *measured.evaluation.notes):
        click.echo(f"note: {note}")
    click.echo(f"report: {folder / 'report.html'}")
    lost += tuple((str(answer.path), str(answer.error)) for answer in measured.unreadable)
    if lost:
        show_lost(lost)
        click.echo(f"{len(lost)} pictures could not be read and are in no figure", err=True)
        raise SystemExit(1)


def _audited(
    provenance: Provenance,
    classifier: Classifier,
    whole: Manifest,
    part: Manifest,
    folder: Path,
    count: int,
    *,
    write: bool,
) -> Provenance:
    """Both audits, their pages written, to be shown with the evaluation."""
    from leukoscope.bundle.audits import KINDS
    from leukoscope.bundle.write import record_audits
    from leukoscope.studies.audits.audit import audit_cues, audit_heat_maps, part_of

    bundle = classifier.bundle
    cells = part_of(bundle, whole.labelled(), test=part)
    found = [
        audit(classifier, cells, folder, count=count, progress=Terminal()) for audit in (audit_heat_maps, audit_cues)
    ]
    for each in found:
        click.echo(f"{KINDS[each.facts.kind]}: {each.text.splitlines()[0]}")
    if write:
        record_audits(bundle.folder, [each.facts for each in found])
        click.echo(f"recorded in {bundle.folder}")
    return replace(
        provenance,
        audits=tuple(each.facts.model_dump(mode="json") for each in found),
        audit_pages={each.facts.kind: each.page.name for each in found},
    )


def _test_part(run: Path, bundle: Bundle) -> tuple[Manifest, Manifest, Provenance]:
    from leukoscope.metrics.provenance import Provenance
    from leukoscope.runs.run import Run

    found = Run.open(run)
    manifest, split = found.dataset, found.split
    part = manifest.select(split.test)
    fitted = bundle.facts.decision.calibration
    used = set(part.groups().tolist()) & set(fitted.groups if fitted and fitted.data == part.name else ())
    fitted_on = f"Probabilities and band were fitted on {len(used)} of these patient groups."
    provenance = Provenance(
        protocol=split.protocol,
        data=manifest.name,
        fingerprint=found.asked["fingerprint"],
        fold=split.fold,
        seed=split.seed,
        warning=fitted_on if used and split.protocol == "group" else None,
    )
    return manifest, part, provenance


def _unseen_part(bundle: Bundle, sets: Sets, include_trained: bool) -> tuple[Manifest, Provenance, list[str]]:
    from leukoscope.datasets.combine import kin_of
    from leukoscope.errors import DataError
    from leukoscope.metrics.provenance import Provenance
    from leukoscope.runs.measure import seen_by

    manifest = sets.manifest
    training = bundle.facts.training
    kin = None if training is None else kin_of(training.data, manifest)
    warnings = [*([kin] if kin else []), *sets.notes]
    met = seen_by(bundle, manifest)
    seen = met.any
    home = bool(met.trained.any()) or (training is not None and training.data == manifest.name)
    warnings += [met.words()] if met.copies else []
    if include_trained and seen.any():
        warnings.insert(0, "Holds groups that the bundle was trained on.")
    provenance = Provenance(
        protocol="unseen groups" if home else "external",
        data=manifest.name,
        fingerprint=manifest.fingerprint(),
        warning=" ".join(warnings) or None,
    )
    if include_trained and seen.any():
        return manifest, replace(provenance, protocol="all groups, trained ones too"), warnings
    if seen.all():
        raise DataError(
            "the bundle was trained or calibrated on every group of this data set",
            path=manifest.root,
            remedy="use other patients, or --include-trained for figures that mean nothing for new ones",
        )
    if seen.any():
        click.echo(f"{seen.sum()} pictures of groups that the bundle has seen are left out", err=True)
    return manifest.select(~seen), provenance, warnings
