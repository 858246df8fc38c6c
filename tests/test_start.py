"""The start pages do what they say: each command and each line of Python runs, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from leukoscope.datasets.synthetic import render_cell, write_synthetic

HOME = Path(__file__).parents[1]
NEEDS = {"start_researcher": "torch", "start_laboratory": "fastapi", "start_integrator": "fastapi"}
SERVES = ("leukoscope serve", "leukoscope app serve")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """What the reader of the pages has: cells, a smear, labelled cells; and `leukoscope` on the path."""
    (tmp_path / "cells").mkdir()
    for number in range(4):
        cell = cv2.cvtColor(render_cell(number, "blast" if number % 2 else "normal"), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "cells" / f"UID_{101 + number}_1_1_all.png"), cell)
    cv2.imwrite(str(tmp_path / "cell.png"), cell)
    (tmp_path / "smears").mkdir()
    cv2.imwrite(str(tmp_path / "smears" / "p1.png"), cell)
    write_synthetic(tmp_path / "labelled", count=24, seed=1, layout="folders", subjects=6)
    program = tmp_path / "bin" / "leukoscope"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m leukoscope "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    text = (HOME / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sorted(NEEDS))
def test_each_command_of_a_start_page_runs(page: str, desk: Path) -> None:
    pytest.importorskip(NEEDS[page])
    path = f"{desk / 'bin'}:{os.environ['PATH']}"
    surroundings = {**os.environ, "PATH": path, "LEUKOSCOPE_CACHE": str(desk / "cache")}
    commands = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    assert commands
    for command in commands:
        if command.startswith(SERVES):
            serve_a_moment([*shlex.split(command), "--port", free_port()], desk, surroundings)
            continue
        done = subprocess.run(
            shlex.split(command), cwd=desk, env=surroundings, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for page_named in re.findall(r"`((?:\w+/)+\w+\.(?:html|json))`", (HOME / "docs" / f"{page}.md").read_text("utf-8")):
        assert (desk / page_named).is_file(), f"the page promises {page_named}"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def serve_a_moment(command: list[str], folder: Path, surroundings: dict[str, str]) -> None:
    """Start what serves, wait until it names its address, and end it."""
    with subprocess.Popen(
        command, cwd=folder, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as served:
        said = ""
        try:
            assert served.stdout is not None
            while "http://" not in said:
                line = served.stdout.readline()
                assert line, f"it ended and said\n{said}"
                said += line
            served.send_signal(signal.SIGTERM)  # not SIGINT, to which what runs in the background is deaf
            rest, _ = served.communicate(timeout=60)
        finally:
            served.kill()
    assert served.returncode in (0, 143, -signal.SIGTERM), said + rest


def test_each_line_of_python_runs(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, object] = {}
    for block in blocks("start_integrator", "python"):
        exec(compile(block, "docs/start_integrator.md", "exec"), names)
    assert re.search(r"^(blast|normal|refer) ", capsys.readouterr().out)


@pytest.mark.parametrize("notebook", sorted((HOME / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(notebook: Path, desk: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    read = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in read.cells), "notebooks are kept without outputs"
    nbclient.NotebookClient(read, timeout=300, resources={"metadata": {"path": str(desk)}}).execute()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Dead links, pages that no table of contents names, and references to code that is gone are warnings."""
    pytest.importorskip("sphinx")
    pytest.importorskip("sphinx_click")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(HOME / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "start_laboratory.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page), "the site works without a network"
