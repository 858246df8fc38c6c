"""`leukoscope sign`: vouch for a bundle."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", "key_file", type=click.Path(path_type=Path), required=True, help="From `federate key`.")
def sign(bundle: Path, key_file: Path) -> None:
    """Sign BUNDLE with a laboratory's key, so that others can tell it from an altered one.

    `predict`, `field` and `serve` refuse with --trust KEY, or LEUKOSCOPE_TRUST=KEY, what that key has not signed. A
    bundle that is changed, as by `calibrate`, is another one: sign it again.
    """
    from leukoscope.bundle.signature import sign_bundle
    from leukoscope.keys import read_key

    key = read_key(key_file)
    signed = sign_bundle(bundle, key)
    click.echo(f"signed: {bundle} (digest {signed.digest[:16]}) by {key.public}")
