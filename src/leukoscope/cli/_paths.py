"""Pictures named on the command line: paths, `-` for paths on standard input, `@FILE` for a file that lists them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from leukoscope.errors import PictureError


def listed(paths: Iterable[Path]) -> list[Path]:
    """The paths, with lists in their places: one path a line, empty lines left out. A path `@FILE` that exists is none.

    Relative paths in a list are relative to the working folder, as those of `find` and `ls` are.

    Raises:
        PictureError: a list cannot be read, or names nothing.
    """
    found: list[Path] = []
    for path in paths:
        if str(path) == "-":
            found += _lines(sys.stdin.read(), "standard input")
        elif str(path).startswith("@") and not path.exists():
            file = str(path)[1:]
            try:
                found += _lines(Path(file).read_text(encoding="utf-8", errors="surrogateescape"), file)
            except OSError as error:
                why = f"the list cannot be read ({error.strerror or error})"
                raise PictureError(why, path=file, remedy="check the path behind @") from error
        else:
            found.append(path)
    return found


def _lines(text: str, name: str) -> list[Path]:
    paths = [Path(line) for line in text.splitlines() if line.strip()]
    if not paths:
        raise PictureError("the list names no picture", path=name, remedy="write one path a line")
    return paths
