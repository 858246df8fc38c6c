"""Building and serving the app, without a browser."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner

from leukoscope.app.runtime import RUNTIME_FILES, runtime_files
from leukoscope.app.serve import site_server
from leukoscope.app.site import build_site
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.cells.frame import Clahe, Preparation
from leukoscope.cli import main
from leukoscope.errors import BundleError, LeukoscopeError
from leukoscope.service.app import Pocket
from leukoscope.web.packed import packed


def test_each_file_is_listed_by_its_digest(site: Path) -> None:
    script = (site / "sw.js").read_text(encoding="utf-8")
    kept = json.loads(script.split("const SITE = ", 1)[1].split(";\n", 1)[0])
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(kept["files"]) == there - {"sw.js", "_headers", "NOTICE.txt"}
    for name, digest in kept["files"].items():
        assert hashlib.sha256((site / name).read_bytes()).hexdigest() == digest
    facts = json.loads((site / "app.json").read_text(encoding="utf-8"))
    assert facts["build"] == kept["build"]
    assert facts["bundle_digest"] == read_bundle("light").digest
    assert "@" + "POLICY@" not in (site / "index.html").read_text(encoding="utf-8")


def test_the_same_build_is_the_same_bytes_and_takes_its_own_place(site: Path, runtime: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for _ in range(2):
        build_site(folder, read_bundle("light"), runtime)
    for path in site.rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(LeukoscopeError, match="is no app"):
        build_site(tmp_path, read_bundle("light"), tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_bundle_that_equalises_contrast_is_refused(tmp_path: Path) -> None:
    own = read_bundle("light")
    facts = own.facts.model_copy(update={"preparation": Preparation(frame_size=340, clahe=Clahe())})
    with pytest.raises(BundleError, match="CLAHE"):
        build_site(tmp_path / "site", Bundle(own.folder, facts, own.graph), tmp_path)


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeukoscopeError, match=r"ort\.wasm\.min\.mjs: cannot be read"):
        runtime_files(tmp_path)
    for name in RUNTIME_FILES:
        (tmp_path / name).write_bytes(b"another")
    with pytest.raises(LeukoscopeError, match=r"is not that of onnxruntime-web"):
        runtime_files(tmp_path)


def test_without_npm_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LeukoscopeError, match=r"npm is not installed.*--runtime"):
        runtime_files()


def test_what_npm_fetches_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho other > onnxruntime-web-1.30.0.tgz\n", encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(LeukoscopeError, match="SHA-512"):
        runtime_files()


def test_the_server_sends_the_policy_and_the_types(site: Path) -> None:
    with site_server(site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, kind in (("", "text/html"), ("app.mjs", "text/javascript"), ("app.webmanifest", "application/manif")):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{name}") as reply:
                assert reply.headers["content-type"].startswith(kind)
                policy = reply.headers["content-security-policy"]
        server.shutdown()
    assert "'wasm-unsafe-eval'" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy


def forms_of(address: str, accepted: str) -> tuple[str | None, bytes, str]:
    """Coding, body and type of what a server sends to whoever accepts these."""
    with urllib.request.urlopen(urllib.request.Request(address, headers={"accept-encoding": accepted})) as reply:
        return reply.headers["content-encoding"], reply.read(), reply.headers["content-type"]


def test_a_compressed_file_is_sent_to_who_takes_it(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    for name in ("app.mjs", "index.html", "icon-192.png"):
        for ending, content in packed((folder / name).read_bytes()).items():
            (folder / (name + ending)).write_bytes(content)
    assert not (folder / "icon-192.png.gz").exists()  # it would not be smaller
    whole = {"": (folder / "index.html").read_bytes(), "app.mjs": (folder / "app.mjs").read_bytes()}
    workbench = uvicorn.Server(uvicorn.Config(Pocket(folder), port=0, log_level="error"))
    thread = threading.Thread(target=workbench.run, daemon=True)
    thread.start()
    while not workbench.started:
        time.sleep(0.01)
    port = workbench.servers[0].sockets[0].getsockname()[1]
    with site_server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for home in (f"http://127.0.0.1:{server.server_port}/", f"http://127.0.0.1:{port}/"):
            for name, content in whole.items():
                kind = "text/html" if not name else "text/javascript"
                for accepted, coding in (("gzip, deflate", "gzip"), ("gzip;q=0", None), ("identity", None)):
                    sent, body, told = forms_of(home + name, accepted)
                    assert sent == coding
                    assert told.startswith(kind)
                    assert (gzip.decompress(body) if coding else body) == content
                if shutil.which("node"):
                    assert forms_of(home + name, "gzip, deflate, br")[0] == "br"
        server.shutdown()
    workbench.should_exit = True
    thread.join()


def test_the_command_builds_and_tells(runtime: Path, tmp_path: Path) -> None:
    command = ["app", "build", "--plain", "--out", str(tmp_path / "site"), "--runtime", str(runtime)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "31 files" in done.output
    nothing = CliRunner().invoke(main, ["app", "serve", str(tmp_path)])
    assert nothing.exit_code != 0
    assert "app build --out" in nothing.output
