"""`leukoscope export`: the bundle of a run, made again, or the 8-bit form of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._data import open_data
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.datasets.dataset import Manifest

CALIBRATION_CELLS = 256


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN_OR_BUNDLE")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the bundle.  [default: RUN/bundle; with --int8 -int8 behind the name of the float one]",
)
@click.option("--name", help="Name of the bundle.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Blast where the probability is at least this.")
@click.option("--int8", is_flag=True, help="Write the 8-bit form of the run's bundle, or of the bundle given.")
@click.option(
    "--data", multiple=True, type=click.Path(path_type=Path),
    help="With --int8: the data set that the network was trained on; several are combined.",
)  # fmt: skip
@click.option(
    "--cells",
    type=click.IntRange(min=1),
    default=CALIBRATION_CELLS,
    show_default=True,
    help="With --int8: training cells on which its logit is fitted to the float one's.",
)
@click.option("--seed", default=0, show_default=True, help="With --int8: of the choice of these cells.")
@keeps_results()
def export(
    run: Path,
    out: Path | None,
    name: str | None,
    threshold: float | None,
    int8: bool,
    data: tuple[Path, ...],
    cells: int,
    seed: int,
) -> None:
    """Export the best weights of RUN, finished or not, as a bundle.

    Training facts, calibration, band, gate, figures and audits are taken from the run's own bundle; a run that never
    finished has none and says so. Audits are left out where the graph has become another one.

    With --int8, the weights of a bundle's larger convolutions are kept in 8 bits. It decides as the float bundle does,
    and holds no figures until `leukoscope evaluate` has measured it.
    """
    if int8 != bool(data):
        raise click.UsageError("--int8 and --data go together: the data set that the network was trained on")
    if data:
        if name is not None or threshold is not None:
            raise click.UsageError("--name and --threshold belong to the float bundle")
        _int8(run, data, out, cells, seed)
        return
    from leukoscope.errors import missing_extra

    try:
        from leukoscope.bundle.export import graph_bytes
    except ImportError as error:
        raise missing_extra("exporting", "train") from error
    from leukoscope.bundle.bundle import Bundle
    from leukoscope.bundle.decision import decided_at
    from leukoscope.bundle.schema import DecisionFacts
    from leukoscope.datasets.facts import licences
    from leukoscope.files import recover
    from leukoscope.runs.run import Run

    found = Run.open(run)
    recipe, (model, epochs) = found.recipe, found.network()
    graph = graph_bytes(model, recipe.input.size, recipe.input.preparation.frame_size)
    own = run / "bundle"
    target = out or own
    recover(own)
    whole = own.exists()
    if whole:
        before = found.bundle()
        # The same weights: what was measured with them holds, however the graph is written today.
        made = before.with_facts(graph=graph, measured=before.facts.measured, subjects=before.facts.subjects)
    else:
        before = made = Bundle.of(
            graph, target, name=f"{recipe.model.name}-{recipe.name}", preparation=recipe.input.preparation,
            input_size=recipe.input.size, decision=DecisionFacts(threshold=recipe.threshold), training=found.training,
            data_licences=licences(found.dataset),
        )  # fmt: skip
    if threshold not in {None, made.facts.decision.threshold}:
        made = made.with_facts(decision=decided_at(threshold, made.facts.decision))
    if name is not None:
        made = made.with_facts(name=name)
    written = made.write(target).facts
    click.echo(f"bundle: {target} ({recipe.model.name}, best of {epochs} epochs)")
    if not whole:
        lacks = "no gate and no band" if written.training else "no gate, no band and no record of its training"
        click.echo(f"the run had no bundle: this one has {lacks}")
        click.echo("to have them, give the run's `leukoscope train` command again")
    if not written.measured:
        click.echo("it holds no figures: run `leukoscope evaluate` with it")
    if len(written.audits) < len(before.facts.audits):
        click.echo("its graph is another one than was audited: run `leukoscope audit` with it")


def _int8(given: Path, data: tuple[Path, ...], out: Path | None, cells: int, seed: int) -> None:
    from leukoscope.bundle.quantize import quantized
    from leukoscope.bundle.read import place_of, read_bundle
    from leukoscope.cells.frame import prepare
    from leukoscope.cells.read import read_picture
    from leukoscope.datasets.patients import Patients

    bundle = read_bundle(given / "bundle" if (given / "run.json").is_file() else given)
    sets = open_data(data, both_classes=True)
    show_lost(sets.failed, word="left out")
    manifest = sets.manifest
    part = _trained_on(bundle, manifest, cells, seed)
    source = bundle.folder.resolve() if out else place_of(given, bundle).resolve()
    folder = out or source.with_name(f"{source.name}-int8")
    facts = (
        quantized(
            bundle,
            (prepare(read_picture(path).rgb, bundle.facts.preparation) for path in part.paths()),
            data=manifest.name,
            fingerprint=manifest.fingerprint(),
            groups=part.groups().tolist(),
            seed=seed,
        )
        .write(folder)
        .facts
    )
    made = facts.quantised
    assert made is not None
    size, before = ((place / "model.onnx").stat().st_size for place in (folder, bundle.folder))
    saved = f"{size:,} bytes instead of {before:,}"
    click.echo(f"bundle: {folder} (weights of {made.convolutions} convolutions in 8 bits, {saved})")
    click.echo(f"calibrated on {made.pictures} cells of {Patients.of(made.groups).words()} of the training part")
    click.echo("it holds no figures: run `leukoscope evaluate` with it")


def _trained_on(bundle: Bundle, manifest: Manifest, cells: int, seed: int) -> Manifest:
    """Cells of patient groups that the bundle was trained on, spread over classes and groups."""
    from leukoscope.datasets.split import limit
    from leukoscope.errors import BundleError, DataError

    training = bundle.facts.training
    if training is None:
        raise BundleError(
            "does not say what it was trained on", path=bundle.folder, remedy="export its run with `leukoscope export`"
        )
    groups = set(training.groups_trained) - set(training.groups_validated)
    rows = [index for index, group in enumerate(manifest.groups().tolist()) if group in groups]
    if manifest.name != training.data or not rows:
        raise DataError(
            "holds no cell of a patient group that the bundle was trained on",
            path=manifest.root,
            remedy=f"give the data set {training.data}",
        )
    return limit(manifest.select(rows), cells, seed)
