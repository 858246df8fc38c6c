"""`leukoscope push`: a bundle to a model hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--revision", help="Branch to commit to.  [default: the main one]")
@click.option("--private", is_flag=True, help="Show a repository that is made to its owner alone.")
def push(bundle: Path, repo: str, revision: str | None, private: bool) -> None:
    """Give BUNDLE to a repository of the Hugging Face hub, or of the one that HF_ENDPOINT names.

    The repository is made if absent. The bundle, with its signatures, becomes the folder bundle/ in one commit; the
    card above it has the hub's header. Log in before with `hf auth login`, or set HF_TOKEN.
    """
    from leukoscope.hub.transfer import push_bundle

    pushed, address = push_bundle(bundle, repo, revision=revision, private=private)
    click.echo(f"pushed: {pushed.facts.name} (digest {pushed.digest[:16]}) to {address}")
