"""Results of a slide as they lie in their folder: what a server reads that never opens a slide itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leukoscope.bundle.seal import read_sealed
from leukoscope.errors import LeukoscopeError
from leukoscope.files import sha256_of

SETTINGS, FACTS, CELLS, TABLE, CONTOURS, PAGE, THUMBNAIL = (
    "leukoscope-slide.json", "slide.json", "cells.jsonl", "cells.csv", "cells.geojson", "report.html", "thumbnail.jpg",
)  # fmt: skip
_AGAIN = "give the same `leukoscope slide` command again"


def read_facts(folder: Path) -> dict[str, Any]:
    """What `slide.json` of a folder of results says.

    Raises:
        LeukoscopeError: it is missing, or is not what was written.
    """
    try:
        return read_sealed(folder / FACTS)
    except (OSError, ValueError) as error:
        raise LeukoscopeError("is missing or damaged", path=folder / FACTS, remedy=_AGAIN) from error


def stored_cells(folder: Path, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells of a slide from top to bottom, as `cells.jsonl` holds them.

    Args:
        folder: of the results.
        facts: from `read_facts`.

    Raises:
        LeukoscopeError: they are missing, or are not what was written.
    """
    try:
        whole = sha256_of(folder / CELLS) == facts["cells_sha256"]
    except OSError as error:
        raise LeukoscopeError("cannot be read", path=folder / CELLS, remedy=_AGAIN) from error
    if not whole:
        raise LeukoscopeError("is damaged or was altered", path=folder / CELLS, remedy=_AGAIN)
    with (folder / CELLS).open(encoding="utf-8") as file:
        yield from map(json.loads, file)
