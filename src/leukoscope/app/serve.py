"""Serving a built app on this machine, for a look: the headers are those that a host should send."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from leukoscope.app.site import FACTS, POLICY
from leukoscope.errors import LeukoscopeError
from leukoscope.web.packed import packed_beside

_TYPES: Final = {
    ".css": "text/css", ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json",
    ".mjs": "text/javascript", ".png": "image/png", ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json", "": "application/octet-stream",
}  # fmt: skip


class _Pages(SimpleHTTPRequestHandler):
    extensions_map = _TYPES
    coding: str | None = None

    def __init__(self, *arguments: Any, policy: str, **named: Any) -> None:
        self.policy = policy
        super().__init__(*arguments, **named)

    def send_head(self) -> Any:
        """Send the compressed form of a file to whoever takes it."""
        plain = Path(self.translate_path(self.path))
        form = packed_beside(plain / "index.html" if plain.is_dir() else plain, self.headers.get("accept-encoding", ""))
        self.coding = None if form is None else form[1]
        if form is not None:
            self.path = "/" + form[0].relative_to(self.directory).as_posix()
        return super().send_head()

    def guess_type(self, path: Any) -> str:
        """The type of the file, whatever form it is sent in."""
        return super().guess_type(Path(path).with_suffix("") if self.coding else path)

    def end_headers(self) -> None:
        """Add the headers."""
        if self.coding:
            self.send_header("Content-Encoding", self.coding)
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Content-Security-Policy", f"{self.policy}; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  (the base class' name)
        """Say nothing of each request."""


def site_server(folder: Path, port: int = 0, *, policy: str = POLICY) -> ThreadingHTTPServer:
    """A server of a built app on 127.0.0.1, not yet serving.

    Args:
        folder: that `build_site` wrote.
        port: to listen on; 0: any free one.
        policy: what the pages may do.

    Raises:
        LeukoscopeError: the folder holds no app, or the port is taken.
    """
    if not (folder / FACTS).is_file():
        raise LeukoscopeError("holds no app", path=folder, remedy="build one: leukoscope app build --out DIR")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Pages, directory=str(folder), policy=policy))
    except OSError as error:
        raise LeukoscopeError(
            f"cannot listen on port {port} ({error.strerror or error})", remedy="choose another with --port"
        ) from error
