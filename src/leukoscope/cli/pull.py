"""`leukoscope pull`: a bundle from a model hub."""

from __future__ import annotations

from pathlib import Path

import click

from leukoscope.cli._options import TRUST


@click.command()
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--revision", help="Branch, tag or commit; a commit is the same for ever.  [default: the main branch]")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the bundle.")
@TRUST
@click.option("--replace", is_flag=True, help="Replace another bundle in --out.")
def pull(repo: str, revision: str | None, out: Path, trust: tuple[str, ...], replace: bool) -> None:
    """Fetch a bundle from a repository of the Hugging Face hub, or of the one that HF_ENDPOINT names.

    Each file is compared with its checksum, and with --trust the signature is checked, before the folder is there:
    it is whole or not at all.
    """
    from leukoscope.hub.transfer import pull_bundle

    bundle = pull_bundle(repo, out, revision=revision, trust=trust, replace=replace)
    click.echo(f"pulled: {bundle.facts.name} (digest {bundle.digest[:16]}) to {out}")
