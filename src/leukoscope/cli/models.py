"""`leukoscope models`: which networks there are, and what one costs."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List the networks, or show the facts of one."""
    from leukoscope.errors import missing_extra

    try:
        from leukoscope.models import count_parameters, create_model, model_names, model_spec
    except ImportError as error:
        raise missing_extra("building networks", "train") from error
    if name is None:
        for each in model_names():
            spec = model_spec(each)
            click.echo(f"{each:<12} {count_parameters(create_model(each)):>10,} parameters  {spec.summary}")
        return
    spec = model_spec(name)
    click.echo(f"{spec.name}: {spec.summary}")
    click.echo(f"source: {spec.source}\nlicence: {spec.licence}\ninput: {spec.input_size} px")
    click.echo(f"parameters: {count_parameters(create_model(name)):,} trainable")
    for key, value in spec.arguments.items():
        click.echo(f"  {key} = {value}")
