"""Answers as a table of pandas or polars, whichever is there."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Literal

from leukoscope.errors import LeukoscopeError
from leukoscope.inference.answer import Answer

COLUMNS = (
    "path", "cell", "decision", "probability", "logit", "reason", "gate", "gate_score", "error", "x", "y", "width",
    "height", "um_per_px", "model", "sha256", "ms",
)  # fmt: skip


def to_frame(answers: Iterable[Answer], *, library: Literal["pandas", "polars"] | None = None) -> Any:
    """A data frame with a row for each answer, in their order, and the columns `COLUMNS`.

    Args:
        answers: from `Classifier.predict`, `predict_many` or `read_field`.
        library: which; None: pandas where it is installed, else polars.

    Raises:
        LeukoscopeError: neither is installed, or not the one asked for.
    """
    rows = [_row(answer) for answer in answers]
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    for name in ("pandas", "polars") if library is None else (library,):
        try:
            module = import_module(name)
        except ImportError:
            continue
        return module.DataFrame(columns)
    raise LeukoscopeError(
        f"{library or 'neither pandas nor polars'} is {'not ' if library else ''}installed",
        remedy=f"run: pip install {library or 'pandas'}; or use [answer.to_dict() for answer in answers]",
    )


def _row(answer: Answer) -> dict[str, Any]:
    told = answer.to_dict()
    place = told.pop("place") or {}
    x, y, width, height = place.get("box", (None,) * 4)
    return told | {"x": x, "y": y, "width": width, "height": height, "um_per_px": place.get("um_per_px")}
