"""C-NMC 2019 in its official tree.

"ALL Challenge dataset of ISBI 2019 (C-NMC 2019)", The Cancer Imaging Archive, doi:10.7937/tcia.2019.dc64i46r.

The names of C-NMC 2019 pictures: `UID_<subject>_<field>_<cell>_<all|hem>`.

The published labels of the preliminary test of C-NMC 2019.

The pictures are numbered `1.bmp` to `1867.bmp`. The table has the columns `Patient_ID,new_names,labels`; the first
holds the full original name, which says subject and class, and label 1 means `all`, that is leukemic. Copies exist that
write 0 for `all`; as the name says the class, such a table is recognised, and refused rather than repaired: whoever
reads its column elsewhere would get the classes exchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from os import PathLike
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.groups import known_groups, read_groups
from leukoscope.datasets.known_sets import SetFacts, reader
from leukoscope.datasets.pictures import list_folders, list_pictures, refuse_collisions, shorten
from leukoscope.datasets.record import BLAST, NORMAL, Record, class_of
from leukoscope.errors import DataError
from leukoscope.tables import read_rows

_FOLD: Final = re.compile(r"fold_\d+")
_PATTERN: Final = re.compile(r"UID_(H?)(\d+)_(\d+)_(\d+)_(all|hem)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class CellName:
    """What a name says of its cell.

    Attributes:
        subject: with a capital H for healthy subjects: 36 pictures of subject H3 are published as `UID_h3_...`.
        field: number of the microscope field within the subject.
        cell: number of the cell.
        label: 1 for `all`, 0 for `hem`.
    """

    subject: str
    field: str
    cell: str
    label: int

    @staticmethod
    def parse(name: str) -> CellName | None:
        """Read a file name, with or without suffix; None where it is not such a name.

        A name that calls a healthy subject leukemic, or the reverse, contradicts itself and is none.

        >>> CellName.parse("UID_h3_12_4_hem.bmp")
        CellName(subject='H3', field='12', cell='4', label=0)
        >>> CellName.parse("UID_H3_12_4_all.bmp") is None
        True
        """
        stem = PurePosixPath(name).stem if "." in name else name
        match = _PATTERN.fullmatch(stem)
        if match is None:
            return None
        healthy, number, field, cell, word = match.groups()
        label = BLAST if word.lower() == "all" else NORMAL
        if bool(healthy) != (label == NORMAL):
            return None
        return CellName(f"{healthy.upper()}{number}", field, cell, label)


FILE: Final = "C-NMC_test_prelim_phase_data_labels.csv"


def find_labels(root: Path, pictures: Path) -> Path | None:
    """The table beside the pictures, in a folder above them within the tree, or beside the tree; None if nowhere."""
    above = [folder for folder in (pictures, *pictures.parents) if folder == root or root in folder.parents]
    return next((place / FILE for place in (*above, root.resolve().parent) if (place / FILE).is_file()), None)


def read_labels(path: str | PathLike[str]) -> dict[str, CellName]:
    """Read the table.

    Returns:
        What the original name says, by the new name without suffix (`"1"` to `"1867"`).

    Raises:
        DataError: an original name that does not match, a repeated new name, or labels that contradict the names.
    """
    file = Path(path)
    names: dict[str, CellName] = {}
    contradicted: list[int] = []
    _, rows = read_rows(file, ("patient_id", "new_names", "labels"))
    for line, row in rows:
        name = CellName.parse(row["patient_id"])
        if name is None:
            raise DataError(f"line {line}: {row['patient_id']!r} is not a name of C-NMC 2019", path=file)
        if row["labels"] not in ("0", "1"):
            raise DataError(f"line {line}: the label {row['labels']!r} is neither 0 nor 1", path=file)
        if (row["labels"] == "1") != (name.label == BLAST):
            contradicted.append(line)
        number = PurePosixPath(row["new_names"]).stem
        if number in names:
            raise DataError(f"line {line}: {row['new_names']} stands twice", path=file)
        names[number] = name
    remedy = "use the published table, where label 1 means all (leukemic)"
    if contradicted and len(contradicted) == len(rows):
        raise DataError(
            "every label contradicts its name: this copy writes 0 for all (leukemic)", path=file, remedy=remedy
        )
    if contradicted:
        raise DataError(
            f"{len(contradicted)} labels contradict their names, first in line {contradicted[0]}",
            path=file,
            remedy=remedy,
        )
    return names


TREE: Final = "C-NMC_Leukemia"
TRAIN, PRELIM, FINAL = "cnmc2019/train", "cnmc2019/prelim", "cnmc2019/final"


def find_tree(path: Path) -> Path | None:
    """The folder that holds the training folds or a test phase, given it, one above or the training folder.

    The folds are known by what is in them (`fold_0` to `fold_2`, each with `all` and `hem`), the test phases by the
    words `prelim` and `final` in the names of their folders: the archive's own package, the official tree and copies
    with doubled folders name the rest differently.
    """
    if _holds_folds(path):
        return path.resolve().parent
    trees = (path, *_folders(path))
    for holds in (_holds_folds, lambda inner: bool(_phase(inner, "prelim") or _phase(inner, "final"))):
        for tree in trees:
            if any(holds(inner) for inner in _folders(tree)):
                return tree
    return None


def _holds_folds(folder: Path) -> bool:
    return any(_FOLD.fullmatch(inner.name) and _classes(inner) for inner in _folders(folder))


def _classes(fold: Path) -> list[Path]:
    """The class folders of a fold, also one folder deeper in a folder of its own name, as some archives unpack."""
    inner = _folders(fold)
    if [folder.name for folder in inner] == [fold.name]:
        inner = _folders(inner[0])
    return inner if any(folder.name.lower() in ("all", "hem") for folder in inner) else []


def _phase(folder: Path, word: str) -> list[Path]:
    """The pictures of a test phase: of the folder inside ``folder``, or it itself, whose name has the word in it."""
    for place in (folder, *_folders(folder)):
        if word in place.name.lower() and (pictures := list_pictures(place)):
            return pictures
    return []


@cache
def _merged() -> Mapping[str, str]:
    """Subjects that are one patient, from the table of facts with its evidence."""
    with as_file(files("leukoscope.datasets.readers") / "cnmc2019_groups.csv") as table:
        return MappingProxyType(read_groups(table))


_FACTS: Final = SetFacts(
    name="cnmc2019",
    title="C-NMC 2019",
    terms="C-NMC 2019: CC BY 3.0, ALL Challenge dataset of ISBI 2019 (C-NMC 2019), The Cancer Imaging Archive, "
    "doi:10.7937/tcia.2019.dc64i46r.",
    limits="It was trained on pictures of one laboratory, one stain and one camera, stain-normalised. Elsewhere its "
    "figures do not hold until they have been measured there. All cells of a patient are labelled alike, blast or "
    "normal; no red cell and no clinical fact comes with them.",
    sides=frozenset({450, 600}),  # training and final test
    groups=_merged,
    parse=CellName.parse,
    labels="blast belongs to names in _all, normal to names in _hem; some copies of the set use 0 for leukemic",
    tripod=MappingProxyType(
        {
            "5a": "sections Training, Figures and Limits; docs/data.md",
            "6a": "section Limits: one laboratory; the data set's paper names it",
            "8a": "section Intended use: the published label of the cell, blast of acute lymphoblastic leukemia or "
            "normal",
        }
    ),
)


@reader(
    "cnmc",
    fits=lambda place, _: find_tree(place) is not None,
    looks_for=f"training_data or {TREE} (C-NMC 2019)",
    order=10,
    sets=(_FACTS,),
)
def read_cnmc(path: str | PathLike[str], *, prelim_labels: str | PathLike[str] | None = None) -> Manifest:
    """Read what is there of the official tree, as BMP files or re-encoded under the same names.

    Args:
        path: the tree's root, its parent, or the folder of its folds (then only this is read).
        prelim_labels: the published labels of the preliminary test; None: looked for beside its pictures, in
            the folders above and beside the tree. Without them its pictures are unlabelled.

    Returns:
        The manifest, relative to the folder that holds the training folder, sorted by path. Training pictures have the
        official fold; those of the final test have no label, their labels were never published.

    Raises:
        DataError: no such tree; names that do not match; a folder that contradicts the name; a cell held twice;
            a table of labels that contradicts the names.
    """
    given = Path(path)
    root = find_tree(given)
    if root is None:
        raise DataError("no C-NMC 2019 tree", path=given, remedy=f"give the folder that holds {TREE} or training_data")
    records = list(_train(root))
    if not _holds_folds(given):
        records += _prelim(root, prelim_labels)
        pictures = next((found for inner in _folders(root) if (found := _phase(inner, "final"))), [])
        records += [Record(p.relative_to(root).as_posix(), None, None, None, None, FINAL) for p in pictures]
    if not records:
        raise DataError("the C-NMC 2019 tree holds no pictures", path=root)
    refuse_collisions((record.path for record in records), root)
    return Manifest(root, tuple(sorted(records, key=lambda record: record.path)), "cnmc2019")


def _train(root: Path) -> Iterator[Record]:
    groups = known_groups(TRAIN)
    strange: list[str] = []
    wrong: list[str] = []
    cells: dict[str, str] = {}
    twice: list[str] = []
    training = next((inner for inner in _folders(root) if _holds_folds(inner)), None)
    for fold in [] if training is None else _folders(training):
        number = fold.name.removeprefix("fold_")
        if number not in ("0", "1", "2"):
            raise DataError("not a fold of C-NMC 2019", path=fold, remedy="the folds are fold_0, fold_1 and fold_2")
        for folder in _classes(fold) or list_folders(fold):
            if folder.name.lower() not in ("all", "hem"):
                raise DataError("not a class of C-NMC 2019", path=folder, remedy="the class folders are all and hem")
            for picture in list_pictures(folder):
                where, name = picture.relative_to(root).as_posix(), CellName.parse(picture.name)
                if name is None:
                    strange.append(where)
                    continue
                if name.label != class_of(folder.name):
                    wrong.append(where)
                    continue
                if cells.setdefault(picture.stem.casefold(), where) != where:
                    twice.append(f"{cells[picture.stem.casefold()]} and {where}")
                group = groups.get(name.subject, name.subject)
                yield Record(where, name.label, name.subject, group, int(number), TRAIN, name.field)
    if strange:
        raise DataError(
            f"{len(strange)} names do not match UID_<subject>_<field>_<cell>_<all|hem>: {shorten(strange)}",
            path=root,
            remedy="restore the published names; subject and class are read from them",
        )
    if wrong:
        raise DataError(f"{len(wrong)} names contradict their class folder: {shorten(wrong)}", path=root)
    if twice:
        raise DataError(
            f"{len(twice)} cells are held twice: {shorten(twice, 3)}", path=root, remedy="keep one file each"
        )


def _prelim(root: Path, given: str | PathLike[str] | None) -> list[Record]:
    pictures = next((found for inner in _folders(root) if (found := _phase(inner, "prelim"))), [])
    if not pictures:
        return []
    folder = pictures[0].parent
    table = Path(given) if given is not None else find_labels(root, folder)
    if table is None:
        return [Record(p.relative_to(root).as_posix(), None, None, None, None, PRELIM) for p in pictures]
    names, groups = read_labels(table), known_groups(PRELIM)
    records: list[Record] = []
    strange: list[str] = []
    for picture in pictures:
        # Some copies keep the original name instead of the number.
        name = names.get(picture.stem) or CellName.parse(picture.name)
        if name is None:
            strange.append(picture.name)
            continue
        where, group = picture.relative_to(root).as_posix(), groups.get(name.subject, name.subject)
        records.append(Record(where, name.label, name.subject, group, None, PRELIM, name.field))
    if strange:
        raise DataError(f"{len(strange)} pictures have no row in {table.name}: {shorten(strange)}", path=folder)
    return records


def _folders(path: Path) -> list[Path]:
    return list_folders(path) if path.is_dir() else []
