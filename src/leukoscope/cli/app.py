"""`leukoscope app`: the app in the pocket, as a folder for any static host."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from leukoscope.cli._options import BUNDLE


@click.group()
def app() -> None:
    """Build the app that answers in the browser, offline: no picture leaves the device."""


@app.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the site, new or to be replaced."
)
@BUNDLE
@click.option(
    "--runtime", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the files of onnxruntime-web.  [default: npm fetches them]",
)  # fmt: skip
@click.option(
    "--packed/--plain", default=True, show_default=True,
    help="Each file also compressed, as nginx, Caddy and our own servers send it: .gz, and .br where Node is.",
)  # fmt: skip
def build(out: Path, bundle: Path | None, runtime: Path | None, packed: bool) -> None:
    """Write the site into the folder --out.

    Where no bundle is named it answers with `light`. Serve it over https: browsers keep no app from plain http.
    """
    from leukoscope.app.site import build_site
    from leukoscope.bundle.read import read_bundle

    done = build_site(out, read_bundle(bundle or "light"), runtime, pack=packed)
    click.echo(f"app: {done.folder} ({done.files} files, {done.size:,} bytes, build {done.build[:8]})")


@app.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--port", type=click.IntRange(1, 65535), default=8770, show_default=True, help="Port to listen on.")
def serve(folder: Path, port: int) -> None:
    """Serve the site in DIR to this machine alone, for a look."""
    from leukoscope.app.serve import site_server

    with site_server(folder, port) as server:
        click.echo(f"http://127.0.0.1:{port}/ (Ctrl+C ends it)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
