"""Building and serving the app, without a browser."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from leukoscope.app.runtime import RUNTIME_FILES, runtime_files
from leukoscope.app.serve import site_server
from leukoscope.app.site import build_site
from leukoscope.bundle.read import Bundle, default_bundle, read_bundle
from leukoscope.cells.frame import Clahe, Preparation
from leukoscope.cli import main
from leukoscope.errors import BundleError, LeukoscopeError


def test_each_file_is_listed_by_its_digest(site: Path) -> None:
    script = (site / "sw.js").read_text(encoding="utf-8")
    kept = json.loads(script.split("const SITE = ", 1)[1].split(";\n", 1)[0])
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(kept["files"]) == there - {"sw.js", "_headers", "NOTICE.txt"}
    for name, digest in kept["files"].items():
        assert hashlib.sha256((site / name).read_bytes()).hexdigest() == digest
    facts = json.loads((site / "app.json").read_text(encoding="utf-8"))
    assert facts["build"] == kept["build"]
    assert facts["bundle_digest"] == read_bundle(default_bundle()).digest
    assert "@" + "POLICY@" not in (site / "index.html").read_text(encoding="utf-8")


def test_the_same_build_is_the_same_bytes_and_takes_its_own_place(site: Path, runtime: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for _ in range(2):
        build_site(folder, read_bundle(default_bundle()), runtime)
    for path in site.rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(LeukoscopeError, match="is no app"):
        build_site(tmp_path, read_bundle(default_bundle()), tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_bundle_that_equalises_contrast_is_refused(tmp_path: Path) -> None:
    own = read_bundle(default_bundle())
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


def test_the_command_builds_and_tells(runtime: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["app", "build", "--out", str(tmp_path / "site"), "--runtime", str(runtime)])
    assert done.exit_code == 0, done.output
    assert "25 files" in done.output
    nothing = CliRunner().invoke(main, ["app", "serve", str(tmp_path)])
    assert nothing.exit_code != 0
    assert "app build --out" in nothing.output
