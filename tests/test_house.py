"""What keeps the house as its plan says: docs/architecture.md against the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PACKAGE = HOME / "src" / "leukoscope"
ROOMS = sorted(folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file())


def modules(room: str) -> list[Path]:
    return [path for path in sorted((PACKAGE / room).rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_the_docstring_of_a_room_is_its_row_in_the_plan(room: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    assert f"| `{room}/` | {text.splitlines()[0]} |" in (HOME / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    done = subprocess.run([sys.executable, str(HOME / "benchmarks" / "rooms.py"), "--check"], check=False)
    assert done.returncode == 0, "draw it again: python benchmarks/rooms.py"


def test_the_command_line_translates_and_does_not_count() -> None:
    users = [path.name for path in modules("cli") if "import numpy" in path.read_text(encoding="utf-8")]
    assert users == []


def test_nothing_imports_a_study_but_the_command_line() -> None:
    guests = {
        path.relative_to(PACKAGE).as_posix()
        for room in ROOMS
        if room not in {"cli", "studies"}
        for path in modules(room)
        if "leukoscope.studies" in path.read_text(encoding="utf-8")
    }
    assert guests == set()
