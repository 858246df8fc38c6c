"""`leukoscope pretrain`: kinds of cells in; a file of weights that `train --weights` starts from out."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._options import CACHE, OVERRIDES
from leukoscope.cli._results import keeps_results
from leukoscope.cli._show import Terminal, show_lost


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder that holds a folder per kind.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File of weights to write (.safetensors).")
@click.option("--recipe", default="champion", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option("--model", help="Network, instead of the recipe's.")
@click.option("--scale", default=1.0, show_default=True, help="Pixels of these pictures to one of C-NMC's.")
@click.option("--per-kind", type=click.IntRange(min=20), help="At most so many pictures of each kind.")
@click.option("--licence", default="unknown", show_default=True, help="Terms of the pictures, kept in the file.")
@click.option("--epochs", type=int, help="So many epochs.")
@click.option("--seed", type=int, help="Seed of weights, draws and order.")
@OVERRIDES
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1 ...")
@CACHE
@click.option("--jobs", type=click.IntRange(min=1), help="Threads for cutting and decoding.")
@keeps_results()
def pretrain(
    data: Path,
    out: Path,
    recipe: str,
    model: str | None,
    scale: float,
    per_kind: int | None,
    licence: str,
    epochs: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    device: str,
    cache: Path | None,
    jobs: int | None,
) -> None:
    """Teach a network kinds of white cells (neutrophil, monocyte ...), whatever the folders are called.

    Cells with surroundings are cut out first. What is learned is a start, not a classifier: the head is not kept.
    """
    from leukoscope.errors import RecipeError, missing_extra

    try:
        import torch
    except ImportError as error:
        raise missing_extra("pre-training", "train") from error

    from leukoscope.cli._data import cache_folder
    from leukoscope.datasets.cache import open_cache
    from leukoscope.datasets.cut import cut_cells
    from leukoscope.datasets.kinds import kind_of, read_kinds
    from leukoscope.models import create_model
    from leukoscope.training.batches import seed_for
    from leukoscope.training.pretrain import pretrain as learn
    from leukoscope.training.pretrain import save_pretrained
    from leukoscope.training.recipe import load_recipe
    from leukoscope.training.runtime import start_runtime

    options = {"model.name": model, "epochs": epochs, "seed": seed}
    chosen = load_recipe(recipe, (*overrides, *(f"{k}={v}" for k, v in options.items() if v is not None)))
    if out.suffix != ".safetensors":
        raise RecipeError("the weights are written as .safetensors", path=out, remedy="end --out with .safetensors")
    frame = round(chosen.input.preparation.frame_size * scale)
    if not 32 <= frame <= 1024:
        raise RecipeError(f"--scale {scale:g} makes frames of {frame} px", remedy="give a scale between 0.1 and 2")
    place = cache or cache_folder()
    manifest = read_kinds(data, per_kind=per_kind, seed=chosen.seed)
    cut = cut_cells(manifest, place, jobs=jobs, progress=Terminal())
    show_lost([(failed.path, failed.reason) for failed in cut.failed], word="left out")
    preparation = chosen.input.preparation.model_copy(update={"frame_size": frame})
    entry = open_cache(cut.manifest, preparation, chosen.input.size, place, jobs=jobs, on_error="skip")
    kinds = [kind_of(record) for record in entry.manifest.records]
    click.echo(f"{len(kinds)} cells of {len(set(kinds))} kinds ({len(manifest) - len(kinds)} left out)")
    torch.manual_seed(seed_for("weights", chosen.seed))
    network = create_model(chosen.model.name, **chosen.model.arguments)
    with start_runtime(chosen.precision, device) as runtime:
        learn(
            network,
            chosen,
            entry.frames,
            kinds,
            runtime,
            on_epoch=lambda at: click.echo(
                f"epoch {at['epoch']:3.0f}  loss {at['loss']:.4f}  kinds told apart, held-out tenth "
                f"{at['held_out_accuracy']:.3f}"
            ),
        )
    save_pretrained(network, out, licence)
    click.echo(f"weights: {out}")
