"""`leukoscope models`: which networks there are, and what one costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from leukoscope.models import ModelSpec


@click.command()
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List the networks, or show the facts of one; timm:NAME is any network of the timm library."""
    from leukoscope.errors import MissingExtraError, missing_extra

    try:
        from leukoscope.models import model_names, model_spec
    except ImportError as error:
        raise missing_extra("building networks", "train") from error
    if name is not None:
        _show(model_spec(name))
        return
    absent: MissingExtraError | None = None
    for each in model_names():
        spec = model_spec(each)
        try:
            size = f"{_parameters(spec):>10,} parameters"
        except MissingExtraError as error:
            absent, size = error, f"{'-':>10} parameters"
        click.echo(f"{each:<16} {size}  {spec.input_size} px  {spec.summary}")
    click.echo("timm:NAME        any other network of the timm library, such as timm:mobilenetv3_small_100")
    if absent is not None:
        click.echo(str(absent), err=True)


def _parameters(spec: ModelSpec) -> int:
    """Trainable parameters, counted without filling any memory."""
    import torch

    from leukoscope.models import count_parameters, create_model

    with torch.device("meta"):
        return count_parameters(create_model(spec.name))


def _show(spec: ModelSpec) -> None:
    click.echo(f"{spec.name}: {spec.summary}")
    click.echo(f"source: {spec.source}\nlicence: {spec.licence}\ninput: {spec.input_size} px")
    click.echo(f"parameters: {_parameters(spec):,} trainable")
    if spec.weights is not None:
        click.echo(f"published weights: {spec.weights.hub}, licence {spec.weights.licence}, of {spec.weights.data}")
        click.echo(f"  {spec.weights.url}")
    for key, value in spec.arguments.items():
        click.echo(f"  {key} = {value}")
