"""What a verb's `--out` holds already: the results of another run are not replaced in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from leukoscope.errors import LeukoscopeError

REPLACE = click.option("--replace", is_flag=True, help="Replace the results of another run in --out.")


def check_results(file: Path, run: str, told: Callable[[Mapping[str, Any]], str]) -> None:
    """Refuse a folder that holds the results of another run: they would be replaced.

    Args:
        file: of JSON, which the run writes, with its digest as ``run``; one without it is of an earlier version.
        run: digest of what is asked for now.
        told: what the other run was, in a few words, from the values of its file.

    Raises:
        LeukoscopeError: it does.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(found, dict) and found.get("run") not in {None, run}:
        raise LeukoscopeError(
            f"holds the results of another run ({told(found)})", path=file.parent,
            remedy="choose another --out, or --replace them",
        )  # fmt: skip
