"""`leukoscope recipes`: which recipes there are, and what one says. Needs no PyTorch."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes for training, or print the YAML of one, to start an own recipe from."""
    from importlib import resources

    from leukoscope.errors import RecipeError
    from leukoscope.text import nearest_first

    folder = resources.files("leukoscope") / "training" / "recipes"
    texts = {f.name.removesuffix(".yaml"): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".yaml")}
    if name is None:
        for each in sorted(texts):
            click.echo(f"{each:<14} {texts[each].splitlines()[0].removeprefix('# ')}")
    elif name in texts:
        click.echo(texts[name], nl=False)
    else:
        near = ", ".join(nearest_first(name, sorted(texts)))
        raise RecipeError(f"no recipe is called {name!r}", remedy=f"use one of {near}")
