"""ALL-IDB1 and ALL-IDB2 in their published layouts.

R. Donida Labati, V. Piuri, F. Scotti: ALL-IDB, the acute lymphoblastic leukemia image database for image processing,
ICIP 2011. Its owners give it out on request.

No patient is named in either set. Each picture is therefore a group of its own, apart from the pixel-identical pairs
that are known, which are one group: a split by group is a split by picture, and says nothing about new patients. The
cells of ALL-IDB2 are cut out of pictures of ALL-IDB1, and nobody published which out of which.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Final

from PIL import Image

from leukoscope.datasets.centroids import centroid_file, read_centroids
from leukoscope.datasets.dataset import BLAST, Manifest
from leukoscope.datasets.known_sets import SetFacts, reader
from leukoscope.datasets.pictures import list_pictures, refuse_collisions, shorten
from leukoscope.datasets.record import Record
from leukoscope.errors import DataError

FIELDS: Final = "allidb1"
CELLS: Final = "allidb2"

_FOLDERS: Final = {FIELDS: "im", CELLS: "img"}
_TREES: Final = {FIELDS: "ALL_IDB1", CELLS: "ALL_IDB2"}
_LARGEST_CELL: Final = 400  # pixels; those of ALL-IDB2 have 257
_NAME: Final = re.compile(r"Im([0-9]{3})_([01])", re.IGNORECASE)
#: Pictures with equal pixels: whoever they show, it is one patient.
_SAME: Final = {
    FIELDS: {"im093_0": "Im093+Im108", "im108_0": "Im093+Im108"},
    CELLS: {"im223_0": "Im223+Im257", "im257_0": "Im223+Im257"},
}


def find_allidb(path: Path) -> dict[str, Path]:
    """The sets at a place, as name to root: the root itself, its `im` or `img`, or a folder that holds `ALL_IDB1/2`.

    Pictures alone in a folder of any name are told apart by their size.
    """
    found: dict[str, Path] = {}
    for name, folder in _FOLDERS.items():
        if path.name == folder and _holds(path):
            found[name] = path.resolve().parent
        elif _holds(path / folder):
            found[name] = path
        elif _holds(path / _TREES[name] / folder):
            found[name] = path / _TREES[name]
    if not found and _holds(path):  # the pictures alone, in a folder of any name
        found[FIELDS if _shows_fields(path) else CELLS] = path
    return found


_TERMS: Final = (
    "ALL-IDB: given out by its owners on request, under their terms; R. Donida Labati, V. Piuri, F. Scotti: ALL-IDB, "
    "the acute lymphoblastic leukemia image database for image processing, ICIP 2011."
)
_SETS: Final = (
    SetFacts(
        name=FIELDS,
        title="ALL-IDB1",
        terms=_TERMS,
        caveat="ALL-IDB1 shows whole fields: its label is that of the picture, not of each cell in it.",
        pictures=108,
        kin=frozenset({CELLS}),
        resolution_tells=True,
    ),
    SetFacts(
        name=CELLS,
        title="ALL-IDB2",
        terms=_TERMS,
        caveat="The cells of ALL-IDB2 are cut out of the pictures of ALL-IDB1, and nobody published which out of "
        "which: cells of one picture can stand on both sides of any split.",
        pictures=260,
        kin=frozenset({FIELDS}),
        resolution_tells=True,
    ),
)


@reader("allidb", fits=lambda place, _: bool(find_allidb(place)), looks_for="im or img with ALL-IDB names", sets=_SETS)
def read_allidb(path: str | PathLike[str]) -> Manifest:
    """Read ALL-IDB1 (whole fields, `im/Im001_1.jpg`) or ALL-IDB2 (single cells, `img/Im001_1.tif`).

    The digit behind the number is the label: 1 leukemic, 0 healthy. Of ALL-IDB1 it is that of the picture, not of each
    cell in it. The lists of blasts in `xyc` are checked where they are there: those of healthy pictures must be empty.

    Args:
        path: the set's root, its `im` or `img`, a folder that holds `ALL_IDB1` or `ALL_IDB2`, or one of the
            pictures alone.

    Returns:
        The manifest, sorted by path; subjects are unknown, groups too but for the known pairs of equal pixels; the
        field of a picture of ALL-IDB1 is its number.

    Raises:
        DataError: no such set, or both; names that do not match; a number held twice; a damaged list of blasts, or one
            that contradicts the label.
    """
    given = Path(path)
    found = find_allidb(given)
    if not found:
        raise DataError(
            "no ALL-IDB set", path=given, remedy="give the folder that holds im (ALL-IDB1) or img (ALL-IDB2)"
        )
    if len(found) > 1:
        raise DataError(
            "holds both ALL-IDB1 and ALL-IDB2, which are not independent: the cells of one are cut out of the other",
            path=given,
            remedy=f"give one of them, {found[FIELDS]} or {found[CELLS]}",
        )
    [(name, root)] = found.items()
    folder = root / _FOLDERS[name]
    pictures = list_pictures(folder if folder.is_dir() else root)
    strange = [picture.name for picture in pictures if _NAME.fullmatch(picture.stem) is None]
    if strange:
        raise DataError(
            f"{len(strange)} names do not match Im<number>_<0|1>: {shorten(strange)}",
            path=root,
            remedy="restore the published names; the class is read from them",
        )
    records: list[Record] = []
    numbers: dict[str, str] = {}
    for picture in pictures:
        match = _NAME.fullmatch(picture.stem)
        assert match is not None
        number, label = match[1], int(match[2])
        if numbers.setdefault(number, picture.name) != picture.name:
            raise DataError(
                f"number {number} is held twice: {numbers[number]} and {picture.name}",
                path=root,
                remedy="keep the published file of each number",
            )
        group = _SAME[name].get(picture.stem.lower())
        field = f"Im{number}" if name == FIELDS else None
        records.append(Record(picture.relative_to(root).as_posix(), label, None, group, None, name, field))
        if name == FIELDS:
            _check_centroids(picture, label)
    refuse_collisions((record.path for record in records), root)
    return Manifest(root, tuple(sorted(records, key=lambda record: record.path)), name)


def _check_centroids(picture: Path, label: int) -> None:
    table = centroid_file(picture)
    if table is not None and len(read_centroids(table)) and label != BLAST:
        raise DataError("lists blasts, but the picture's name says healthy", path=table, remedy="restore both files")


def _holds(folder: Path) -> bool:
    """Whether a folder is there and any picture in it is named as in ALL-IDB."""
    return folder.is_dir() and any(_NAME.fullmatch(picture.stem) for picture in list_pictures(folder))


def _shows_fields(folder: Path) -> bool:
    """Whether the first picture that can be opened is larger than any of ALL-IDB2."""
    for path in list_pictures(folder):
        try:
            with Image.open(path) as picture:
                return max(picture.size) > _LARGEST_CELL
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    return False
