"""`leukoscope adapt`: fit the end of a bundle to the cells of one laboratory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._data import GROUPS, data_option, open_data, unseen_cells
from leukoscope.cli._options import THREADS
from leukoscope.cli._show import Terminal, show_lost

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.fitting.head import Adaptation, LocalCells


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@GROUPS
@click.option("--force", is_flag=True, help="Write the bundle even if nothing was clearly gained; it says so.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the parts that are left out.")
@THREADS
def adapt(
    bundle: Path, data: tuple[Path, ...], out: Path, groups: Path | None, force: bool, seed: int, threads: int | None
) -> int:
    """Fit the last layer of BUNDLE, its probabilities and its band to 20 to 200 labelled cells of a laboratory.

    The new last layer is pulled towards the old one; how much is chosen on cells left out. What is reported before and
    after is of cells left out of all fitting: patient by patient where patients are known, else in ten parts, which
    tells nothing of new patients. The new bundle names its parent. Its heat map follows the new layer. Figures and
    statements about subjects of the parent are left out: they do not hold for it.

    Exit code: 0 written, 1 not written because nothing was clearly gained, 2 wrong usage or unusable cells.
    """
    from leukoscope.bundle.head import read_head, replace_head
    from leukoscope.bundle.read import read_bundle
    from leukoscope.fitting.head import adapt as fit
    from leukoscope.fitting.head import check_cells

    parent = read_bundle(bundle)
    head = read_head(parent)
    if out.resolve() == parent.folder.resolve():
        raise click.UsageError("--out must not be the bundle itself: a parent is kept")
    cells, name = _cells(parent, data, groups, threads)
    check_cells(cells)
    found = fit(cells, parent.facts.decision, data=name, seed=seed)
    click.echo(_table(found, cells))
    if not found.better:
        click.echo("nothing was clearly gained on cells left out of the fit, or less than a guess knows", err=True)
        if not force:
            click.echo("no bundle was written; label more cells, or use --force", err=True)
            return 1
    graph = replace_head(parent, head.weight + found.change.weight, head.bias + found.change.bias)
    _write(parent, out, graph, found, cells, name)
    click.echo(f"bundle: {out}")
    return 0


def _cells(bundle: Bundle, data: tuple[Path, ...], groups: Path | None, threads: int | None) -> tuple[LocalCells, str]:
    import numpy as np

    from leukoscope.errors import DataError
    from leukoscope.fitting.head import LocalCells
    from leukoscope.inference.classifier import Classifier
    from leukoscope.metrics.scores import Scores

    sets = open_data(data, groups)
    show_lost(sets.failed, word="left out")
    part = unseen_cells(bundle, sets)
    with Terminal().stage("reading", len(part)) as bar:
        answers = list(Classifier(bundle, threads=threads).predict_many(part.paths(), progress=bar))
    read = np.array([a.logit is not None for a in answers], dtype=np.bool_)
    show_lost([(a.path, a.error) for a in answers if a.logit is None])
    if not read.any():
        raise DataError("none of the cells can be read", path=sets.manifest.root)
    kept, good = part.select(read), [a for a in answers if a.logit is not None]
    turned_down = sum(a.gate == "turned down" for a in good)
    if turned_down:
        click.echo(
            f"{turned_down} of {len(good)} cells are turned down by the bundle's gate; they are used all the same"
        )
    whose = kept.groups()
    scores = Scores(
        tuple(record.path for record in kept.records),
        kept.labels(),
        np.array([a.probability for a in good], dtype=np.float64),
        np.array([a.logit for a in good], dtype=np.float64),
        kept.subjects(),
        whose,
    )
    embedding = np.array([a.embedding for a in good], dtype=np.float64)
    return LocalCells(scores, embedding), part.name


def _table(found: Adaptation, cells: LocalCells) -> str:
    from leukoscope.bundle.decision import calibration_claim, refer_claim

    unit = "patients" if cells.by_patient else "parts of the cells (patients unknown: says nothing of new ones)"
    blasts, total = int(cells.scores.label.sum()), len(cells.scores)
    lines = [
        f"{total} cells, {blasts} of them blasts; left out of the fit in turn: {len(found.units)} {unit}",
        f"pull towards the old head: {_pull(found.strength)}",
        f"{'':<12}{'before':<24}{'after':<24}gain",
    ]
    for key, before in found.before.items():
        told = [each.in_brackets() for each in (before, found.after[key], found.gain[key])]
        lines.append(f"{key:<12}{told[0]:<24}{told[1]:<24}{told[2]}")
    return "\n".join([*lines, calibration_claim(found.rule), refer_claim(found.rule)])


def _pull(strength: float) -> str:
    import math

    return f"{strength:g}" if math.isfinite(strength) else "complete, only its bias moved"


def _write(parent: Bundle, out: Path, graph: bytes, found: Adaptation, cells: LocalCells, name: str) -> None:
    import math
    from dataclasses import replace

    from leukoscope.bundle.schema import ParentFacts
    from leukoscope.bundle.write import revise_bundle

    facts = parent.facts
    origin = ParentFacts(
        name=facts.name,
        files=dict(facts.files),
        data=name,
        cells=len(cells.scores),
        blasts=int(cells.scores.label.sum()),
        units=found.units,
        by_patient=cells.by_patient,
        strength=found.strength if math.isfinite(found.strength) else None,
        before=found.before,
        after=found.after,
        gain=found.gain,
        forced=not found.better,
    )
    changed = facts.model_copy(update={"name": f"{facts.name}-adapted", "parent": origin, "subjects": None})
    revise_bundle(replace(parent, facts=changed, graph=graph), out, decision=found.rule, measured=())
