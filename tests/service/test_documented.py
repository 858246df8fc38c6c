"""The lines of docs/workbench.md for integrators, run against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from bundle_factory import make_bundle
from leukoscope.service.labels import COMMAND_KEYS, DEFAULT_LABELS
from workbench_client import PASSWORD, Served, picture

PAGE = (Path(__file__).parents[2] / "docs" / "workbench.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_lines_for_integrators_lead_from_a_picture_to_a_report(tmp_path: Path) -> None:
    server = Served(tmp_path / "workbench", make_bundle(tmp_path / "bundle"))
    try:
        first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["signer"]}
        assert server.ask("POST", "/first", first)[0] == 200
        (tmp_path / "cell.png").write_bytes(picture((250, 60, 120)))
        (lines,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
        told = {"URL": f"http://127.0.0.1:{server.port}", "LOGIN": "a", "PASSWORD": PASSWORD, "PICTURE": "cell.png"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=tmp_path, env={**os.environ, **told}, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    finally:
        server.kill()


def test_every_key_stands_in_the_page() -> None:
    table = PAGE[PAGE.index("| key | does |") : PAGE.index("The mouse does the same")]
    digits = {"1", "2", "3", "4", "5", "6"}  # told as a range
    for key in ({label.key for label in DEFAULT_LABELS} | set(COMMAND_KEYS)) - digits:
        assert f"`{key}`" in table or key.startswith("Arrow"), key


def test_behind_a_proxy_with_a_path_and_tls(tmp_path: Path) -> None:
    """As the lines for nginx make it: the path is taken off, the scheme is told in a header."""
    server = Served(tmp_path / "workbench", make_bundle(tmp_path / "bundle"), "--root-path", "/leukoscope/")
    try:
        home = f"http://127.0.0.1:{server.port}"
        first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": []}
        headers = {
            "content-type": "application/json", "host": "lab.example", "x-forwarded-proto": "https",
            "origin": "https://lab.example",
        }  # fmt: skip
        request = urllib.request.Request(f"{home}/api/v1/first", json.dumps(first).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            cookie = answer.headers["set-cookie"]
        assert re.fullmatch(r"__Host-leukoscope=\S+; HttpOnly; Path=/; SameSite=strict; Secure", cookie)
        for path in ("/web/main.mjs", "/leukoscope/web/main.mjs"):
            with urllib.request.urlopen(f"{home}{path}") as answer:
                assert "javascript" in answer.headers["content-type"]
        with urllib.request.urlopen(home) as answer:
            page = answer.read().decode()
        assert re.findall(r'(?:src|href)="(?!\./|#)', page) == []  # every address is relative
    finally:
        server.kill()
