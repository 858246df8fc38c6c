"""The table of answers that an evaluation starts from: one row per picture, checked once, never changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.errors import DataError
from leukoscope.files import settle, write_bytes
from leukoscope.tables import csv_text, read_rows

COLUMNS = ("path", "label", "probability", "logit", "subject", "group")
_REMEDY = "write the table again with `leukoscope evaluate`"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a model answered for each picture of a test part, beside the truth. Arrays are read-only.

    Args:
        path: N distinct picture paths, relative to the root of the data set.
        label: int64 [N], 1 blast, 0 normal.
        probability: float64 [N] in [0, 1], of blast, as the model states it (after its temperature).
        logit: float64 [N], finite, higher is more blast-like. Ranks pictures where probabilities round to 0 or 1.
        subject: str [N], the person as the data set names them; empty or None where it does not.
        group: str [N], the patient group (subjects after alias merging): the unit that is resampled.

    Raises:
        DataError: no rows, lengths that differ, a value out of range, a path given twice, a subject in two groups.
    """

    path: tuple[str, ...]
    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    logit: NDArray[np.float64]
    subject: NDArray[np.str_]
    group: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Convert, check and freeze the columns."""
        path = tuple(str(name) for name in self.path)
        columns: dict[str, NDArray[Any]] = {
            "label": _numbers("label", self.label),
            "probability": _numbers("probability", self.probability),
            "logit": _numbers("logit", self.logit),
            "subject": _words(self.subject),
            "group": _words(self.group),
        }
        if not path:
            raise DataError("the table of answers has no rows", remedy="give at least one picture with a known label")
        for name, column in columns.items():
            if column.shape != (len(path),):
                raise DataError(f"{name} has shape {column.shape}, but there are {len(path)} paths")
        _require(np.isin(columns["label"], (0, 1)), path, "label is neither 0 nor 1", columns["label"])
        columns["label"] = columns["label"].astype(np.int64)
        inside = (columns["probability"] >= 0) & (columns["probability"] <= 1)
        _require(inside, path, "probability is not in [0, 1]", columns["probability"])
        _require(np.isfinite(columns["logit"]), path, "logit is not finite", columns["logit"])
        _require(columns["group"] != "", path, "group is empty", columns["group"])
        _check_distinct(path)
        _check_nesting(columns["subject"], columns["group"])
        object.__setattr__(self, "path", path)
        for name, column in columns.items():
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.path)

    def take(self, index: ArrayLike) -> Self:
        """Rows ``index`` (int or bool, [M]) as a new table, in that order."""
        rows = np.arange(len(self))[np.asarray(index)]
        return type(self)(
            tuple(self.path[row] for row in rows),
            self.label[rows],
            self.probability[rows],
            self.logit[rows],
            self.subject[rows],
            self.group[rows],
        )

    def to_csv(self) -> bytes:
        """The table as UTF-8 CSV; numbers are written so that reading gives the same float64 back."""
        numbers = (self.label.tolist(), self.probability.tolist(), self.logit.tolist())
        rows = zip(self.path, *numbers, self.subject.tolist(), self.group.tolist(), strict=True)
        return csv_text(COLUMNS, rows, quote_words=True).encode("utf-8", "surrogateescape")  # names may be no UTF-8

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write ``predictions.csv`` in one step."""
        write_bytes(path, self.to_csv())

    @classmethod
    def read_csv(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``write_csv`` wrote; more columns are ignored.

        Raises:
            DataError: the file is missing, is no such table, or holds a value that ``Scores`` refuses.
        """
        settle(Path(path).parent)
        try:
            _, rows = read_rows(Path(path), COLUMNS, exact=True)
            return cls(*([row[name] for _, row in rows] for name in COLUMNS))  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(error.what, path=path, remedy=error.remedy or _REMEDY) from error


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds something that is no number ({error})") from error


def _words(values: Iterable[Any]) -> NDArray[np.str_]:
    return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)


def _require(good: NDArray[np.bool_], path: Sequence[str], what: str, values: NDArray[Any]) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"{what}: {values[row]!s} for picture {path[row]!r} (row {row + 1})")


def _check_distinct(path: Sequence[str]) -> None:
    if len(set(path)) != len(path):
        seen: set[str] = set()
        twice = next(name for name in path if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"picture {twice!r} is in the table twice", remedy="give each picture once")


def _check_nesting(subject: NDArray[np.str_], group: NDArray[np.str_]) -> None:
    """A person in two groups would be resampled as two independent people."""
    home: dict[str, str] = {}
    for person, place in zip(subject.tolist(), group.tolist(), strict=True):
        if person and home.setdefault(person, place) != place:
            raise DataError(
                f"subject {person!r} is in the groups {home[person]!r} and {place!r}",
                remedy="merge the groups that share a subject",
            )
