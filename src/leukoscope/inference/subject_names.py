"""Whose cell a picture shows, and from which microscope field: by its name, its folder, or a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Literal

from leukoscope.data.readers.names import CellName
from leukoscope.data.rows import read_lines
from leukoscope.errors import DataError, PictureError

NameSource = Literal["auto", "name", "folder"]


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """Where each picture belongs.

    Attributes:
        how: where the subjects come from, in words.
        subject: of a picture, by its path as given; a picture that is missing here belongs to nobody.
        field: microscope field of a picture, by its path; missing where unknown.
    """

    how: str
    subject: dict[str, str]
    field: dict[str, str] = field(default_factory=dict)


def name_subjects(pictures: Sequence[Path | PictureError], source: NameSource | Path = "auto") -> SubjectNames:
    """Find the subject of each picture.

    Args:
        pictures: from `find_pictures`.
        source: `name`: the subject in names as of C-NMC 2019; `folder`: the folder that holds the picture; `auto`: the
            name if every picture has such a name, the folder if none has; or a CSV file with the columns path and
            subject, and field if known, its paths relative to its own folder.

    Raises:
        DataError: a name or a row that is missing; names of both kinds; a table that cannot be read or gives one
            picture to two subjects.
    """
    paths = [Path(str(item.path)) if isinstance(item, PictureError) else item for item in pictures]
    readable = [item for item in pictures if isinstance(item, Path)]
    if isinstance(source, Path):
        return _by_table(paths, readable, source)
    named = {fspath(path): name for path in paths if (name := CellName.parse(path.name)) is not None}
    without = [path for path in readable if fspath(path) not in named]
    if source == "name" or (source == "auto" and named):
        if without:
            mixed = f"{len(without)} of {len(readable)} names hold no subject as of C-NMC 2019"
            raise DataError(mixed, path=without[0], remedy="use --subjects-from folder, or a CSV file of path,subject")
        subject = {path: name.subject for path, name in named.items()}
        return SubjectNames("file names (C-NMC 2019)", subject, {path: name.field for path, name in named.items()})
    return _by_folder(paths, {path: name.field for path, name in named.items()})


def _by_folder(paths: Sequence[Path], field: dict[str, str]) -> SubjectNames:
    """The folder's name; its whole path where two folders have the same name."""
    folder = {fspath(path): path.parent.resolve() for path in paths}
    times = Counter(each.name for each in set(folder.values()))
    subject = {path: each.name if times[each.name] == 1 and each.name else str(each) for path, each in folder.items()}
    return SubjectNames("folders", subject, field)


def _by_table(paths: Sequence[Path], readable: Sequence[Path], table: Path) -> SubjectNames:
    root, rows = read_lines(table, ("path", "subject"))
    base = table.parent / (root or ".")
    owner: dict[Path, str] = {}
    place: dict[Path, str] = {}
    for line, row in rows:
        if not row["subject"] or not row["path"]:
            raise DataError(f"line {line}: no path or no subject", path=table, remedy="complete or remove the line")
        picture = (base / row["path"]).resolve()
        if owner.setdefault(picture, row["subject"]) != row["subject"]:
            raise DataError(f"line {line}: {row['path']} belongs to two subjects", path=table)
        if row.get("field"):
            place[picture] = row["field"]
    where = {fspath(path): path.resolve() for path in paths}
    absent = [path for path in readable if where[fspath(path)] not in owner]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(readable)} pictures are not in {table.name}", path=absent[0],
            remedy="add them to the table; its paths are relative to its own folder",
        )  # fmt: skip
    return SubjectNames(
        f"the table {table.name}",
        {path: owner[real] for path, real in where.items() if real in owner},
        {path: place[real] for path, real in where.items() if real in place},
    )
