"""The errors that Leukoscope raises on purpose.

Each message says what was wrong, with which file, and what to do about it, in one line that can be shown to a user.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike, fspath
from typing import Any

_LONGEST = 1000  # characters: what is wrong may hold a cell of a damaged table, of any length


class LeukoscopeError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what was wrong, without a final full stop.
        path: the file or folder concerned, shown first.
        remedy: what the user can do, as an imperative sentence without a final full stop.

    >>> str(LeukoscopeError("the file is empty", path="a.png", remedy="export the picture again"))
    'a.png: the file is empty; export the picture again'
    """

    def __init__(self, what: str, *, path: str | PathLike[str] | None = None, remedy: str | None = None) -> None:
        self.what = what if len(what) <= _LONGEST else what[: _LONGEST - 1] + "…"
        self.path = None if path is None else fspath(path)
        self.remedy = remedy
        head = f"{self.path}: " if self.path else ""
        tail = f"; {remedy}" if remedy else ""
        super().__init__(f"{head}{self.what}{tail}".replace("\n", " "))


class PictureError(LeukoscopeError):
    """A picture cannot be read or holds no cell that can be framed."""


class DataError(LeukoscopeError):
    """A data set, manifest, checksum table, split or cache is unusable."""


class ModelError(LeukoscopeError):
    """A model name, argument or weight file is unusable."""


class RecipeError(LeukoscopeError):
    """A training recipe or one of its overrides is invalid."""


class TrainingError(LeukoscopeError):
    """A run folder or a checkpoint is unusable, or training diverged."""


class BundleError(LeukoscopeError):
    """A bundle is missing, damaged, altered or not ours."""


class MissingExtraError(LeukoscopeError):
    """An optional dependency is needed and absent."""


def optional(module: str, what: str, extra: str) -> Any:
    """A module of an optional dependency.

    Args:
        module: its name.
        what: what needs it, for the error.
        extra: that brings it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise missing_extra(what, extra) from None


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """Error for a verb that needs an extra that is not installed."""
    return MissingExtraError(
        f"{what} needs packages that the base install leaves out", remedy=f"run: pip install 'leukoscope[{extra}]'"
    )
