"""`leukoscope models`: which networks there are, and what one costs. Needs PyTorch for networks of timm alone."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.argument("name", required=False)
def models(name: str | None) -> None:
    """List the networks, or show the facts of one; timm:NAME is any network of the timm library."""
    import json
    from importlib import resources

    from leukoscope.errors import ModelError
    from leukoscope.text import nearest_first

    text = (resources.files("leukoscope") / "models" / "networks.json").read_text("utf-8")
    networks: dict[str, dict[str, Any]] = json.loads(text)
    if name is None:
        for each, facts in networks.items():
            size = f"{facts['parameters']:>10,} parameters  {facts['input_size']} px"
            click.echo(f"{each:<16} {size}  {facts['summary']}")
        click.echo("timm:NAME        any other network of the timm library, such as timm:mobilenetv3_small_100")
    elif name in networks:
        _show(name, networks[name])
    elif ":" in name:
        _show(name, _looked_up(name))
    else:
        near = ", ".join(nearest_first(name, networks))
        raise ModelError(f"no model is called {name!r}", remedy=f"use one of: {near}")


def _looked_up(name: str) -> dict[str, Any]:
    """The facts of a network that is not ours, from its library."""
    from leukoscope.errors import missing_extra

    try:
        from leukoscope.models.registry import network_facts
    except ImportError as error:
        raise missing_extra("looking at networks of others", "backbones") from error
    return network_facts(name)


def _show(name: str, facts: dict[str, Any]) -> None:
    click.echo(f"{name}: {facts['summary']}")
    click.echo(f"source: {facts['source']}\nlicence: {facts['licence']}\ninput: {facts['input_size']} px")
    click.echo(f"parameters: {facts['parameters']:,} trainable")
    if facts["extra"] is not None:
        click.echo(f"needs: pip install 'leukoscope[{facts['extra']}]'")
    if facts["weights"] is not None:
        weights = facts["weights"]
        click.echo(f"published weights: {weights['hub']}, licence {weights['licence']}, of {weights['data']}")
        click.echo(f"  {weights['url']}")
    for key, value in facts["arguments"].items():
        click.echo(f"  {key} = {value}")
