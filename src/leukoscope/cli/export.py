"""`leukoscope export`: the bundle of a run, made again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle; RUN/bundle otherwise.")
@click.option("--name", help="Name of the bundle.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Blast where the probability is at least this.")
def export(run: Path, out: Path | None, name: str | None, threshold: float | None) -> None:
    """Export the best weights of RUN, finished or not, as a bundle.

    Training facts, calibration and figures are taken from the run's own bundle; a run that never
    finished has none and says so.
    """
    from leukoscope.errors import missing_extra

    try:
        from leukoscope.training.restore import restore
    except ImportError as error:
        raise missing_extra("exporting", "train") from error
    from leukoscope.bundle.export import graph_bytes, write_bundle
    from leukoscope.bundle.read import read_bundle
    from leukoscope.bundle.schema import FACTS_FILE, DecisionFacts

    recipe, model, epochs = restore(run)
    own = run / "bundle"
    facts = read_bundle(own).facts if (own / FACTS_FILE).exists() else None
    target = out or own
    decision = facts.decision if facts else DecisionFacts(threshold=recipe.threshold)
    # Figures and the band hold for the threshold that they were made with.
    same = facts is not None and threshold in {None, decision.threshold}
    if threshold not in {None, decision.threshold}:
        why = "the threshold was set by hand after the band" if decision.refer else decision.no_refer
        decision = decision.model_copy(update={"threshold": threshold, "refer": None, "no_refer": why})
    graph = graph_bytes(model, recipe.input.size, recipe.input.preparation.frame_size)
    write_bundle(
        target,
        graph,
        name=name or (facts.name if facts else f"{recipe.model.name}-{recipe.name}"),
        preparation=recipe.input.preparation,
        input_size=recipe.input.size,
        decision=decision,
        training=facts.training if facts else None,
        measured=tuple(facts.measured) if facts and same else (),
        data_licences=tuple(facts.data_licences) if facts else (),
    )
    click.echo(f"bundle: {target} ({recipe.model.name}, best of {epochs} epochs)")
    if not (facts and same):
        click.echo("it holds no figures: run `leukoscope evaluate` with it")
