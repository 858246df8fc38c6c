"""Which patient and which microscope field a picture belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from leukoscope.datasets.known_sets import NamedCell, known_sets
from leukoscope.datasets.record import known_subject
from leukoscope.errors import DataError, PictureError
from leukoscope.tables import read_rows

OwnerSource = Literal["auto", "name", "folder"]


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose each picture is.

    Attributes:
        how: where the patients come from, in words.
        patient: of a picture, by its path as given; a picture that is missing here belongs to nobody.
        field: microscope field of a picture, by its path; missing where unknown.
    """

    how: str
    patient: dict[str, str]
    field: dict[str, str] = field(default_factory=dict)


def find_owners(pictures: Sequence[Path | PictureError], source: OwnerSource | Path = "auto") -> Owners:
    """Find the patient of each picture.

    Args:
        pictures: from `find_pictures`.
        source: `name`: the patient in names of published data sets, such as C-NMC 2019; `folder`: the folder that
            holds the picture; `auto`: the name if every picture has such a name, the folder if none has; or a CSV file
            with the columns path and patient, and field if known. Its paths are relative to its own folder, or as
            given here; a name without a folder also means the one picture of that name.

    Raises:
        DataError: a name or a row that is missing; names of both kinds; a table that cannot be read or gives one
            picture to two patients.
    """
    paths = [Path(str(item.path)) if isinstance(item, PictureError) else item for item in pictures]
    readable = [item for item in pictures if isinstance(item, Path)]
    if isinstance(source, Path):
        return _by_table(paths, readable, source)
    title, named = _named(paths)
    field = {path: cell.field for path, cell in named.items() if cell.field is not None}
    without = [path for path in readable if fspath(path) not in named]
    if source == "name" or (source == "auto" and named):
        if without:
            mixed = f"{len(without)} of {len(readable)} names hold no patient as of {title}"
            raise DataError(mixed, path=without[0], remedy="use --patients folder, or a CSV file of path,patient")
        return Owners(f"file names ({title})", {path: cell.subject for path, cell in named.items()}, field)
    return _by_folder(paths, field)


def _named(paths: Sequence[Path]) -> tuple[str, dict[str, NamedCell]]:
    """The published set whose names most pictures bear, and what these say; without any, all such sets."""
    best: tuple[str, dict[str, NamedCell]] = ("", {})
    titles = []
    for facts in known_sets().values():
        if facts.parse is None:
            continue
        titles.append(facts.title)
        named = {fspath(path): cell for path in paths if (cell := facts.parse(path.name)) is not None}
        if len(named) > len(best[1]):
            best = (facts.title, named)
    return (" or ".join(titles), {}) if not best[1] else best


def _by_folder(paths: Sequence[Path], field: dict[str, str]) -> Owners:
    """The folder's name; its whole path where two folders have the same name."""
    folder = {fspath(path): path.parent.resolve() for path in paths}
    times = Counter(each.name for each in set(folder.values()))
    patient = {path: each.name if times[each.name] == 1 and each.name else str(each) for path, each in folder.items()}
    return Owners("folders", patient, field)


def _by_table(paths: Sequence[Path], readable: Sequence[Path], table: Path) -> Owners:
    root, rows = read_rows(table, ("path", "subject"))  # which reads `picture` and `patient` as these two
    base = table.parent / (root or ".")
    patient: dict[str, str] = {}
    field: dict[str, str] = {}
    for line, row in rows:
        written = row["path"].replace("\\", "/")
        owner = known_subject(row["subject"])
        if not owner or not written:
            raise DataError(f"line {line}: no path or no patient", path=table, remedy="complete or remove the line")
        place = _key((base / written).resolve())
        if patient.setdefault(place, owner) != owner:
            raise DataError(f"line {line}: {row['path']} belongs to two patients", path=table)
        patient.setdefault(_key(Path(written)), owner)
        if row.get("field"):
            field[place] = field[_key(Path(written))] = row["field"]
    times = Counter(_key(Path(path.name)) for path in paths)
    found: dict[str, str] = {}  # path as given -> as the table has it
    for path in paths:
        bare = _key(Path(path.name))
        for key in (_key(path.resolve()), _key(path), *([bare] if times[bare] == 1 else [])):
            if key in patient:
                found[fspath(path)] = key
                break
    absent = [path for path in readable if fspath(path) not in found]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(readable)} pictures are not in {table.name}", path=absent[0],
            remedy="add them to the table; its paths are relative to its own folder",
        )  # fmt: skip
    return Owners(
        f"the table {table.name}",
        {path: patient[key] for path, key in found.items()},
        {path: field[key] for path, key in found.items() if key in field},
    )


def _key(path: Path) -> str:
    """The path with composed accents: file systems and spreadsheets write them differently."""
    return normalize("NFC", path.as_posix())
