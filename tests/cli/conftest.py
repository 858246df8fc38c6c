"""Running the command in this process, as its entry point does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.cli import main

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `leukoscope ARGUMENTS...` and check that it shows no traceback."""
    monkeypatch.delenv("LEUKOSCOPE_DEBUG", raising=False)

    def go(*arguments: object, debug: bool = False) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if not debug:
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
            assert "Traceback" not in result.output
        return result

    return go


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real bundle whose answers are known: the red cell is a blast, the green one normal."""
    return make_bundle(tmp_path_factory.mktemp("cli") / "bundle")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder with a red and a green cell."""
    folder = tmp_path / "cells"
    folder.mkdir()
    Image.fromarray(disc((200, 30, 90))).save(folder / "red.png")
    Image.fromarray(disc((10, 250, 10))).save(folder / "green.png")
    return folder
