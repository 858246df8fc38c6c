"""C-NMC 2019 in its official tree.

"ALL Challenge dataset of ISBI 2019 (C-NMC 2019)", The Cancer Imaging Archive, doi:10.7937/tcia.2019.dc64i46r.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.data.groups import known_groups
from leukoscope.data.manifest import Manifest
from leukoscope.data.readers.names import CellName
from leukoscope.data.readers.pictures import list_folders, list_pictures, refuse_collisions, shorten
from leukoscope.data.readers.prelim import find_labels, read_labels
from leukoscope.data.record import Record, class_of
from leukoscope.errors import DataError

TREE: Final = "C-NMC_Leukemia"
TRAIN, PRELIM, FINAL = "cnmc2019/train", "cnmc2019/prelim", "cnmc2019/final"
_PRELIM_FOLDER: Final = "validation_data/C-NMC_test_prelim_phase_data"
_FINAL_FOLDER: Final = "testing_data/C-NMC_test_final_phase_data"


def find_tree(path: Path) -> Path | None:
    """The folder that holds `training_data`, given itself, its parent or its `training_data`; None if there is none."""
    if path.name == "training_data" or any(folder.name.startswith("fold_") for folder in _folders(path)):
        path = path.resolve().parent
    for tree in (path, path / TREE):
        if any((tree / part).is_dir() for part in ("training_data", _PRELIM_FOLDER, _FINAL_FOLDER)):
            return tree
    return None


def read_cnmc(path: str | PathLike[str], *, prelim_labels: str | PathLike[str] | None = None) -> Manifest:
    """Read what is there of the official tree, as BMP files or re-encoded under the same names.

    Args:
        path: the tree's root, its parent, or its `training_data` (then only this is read).
        prelim_labels: the published labels of the preliminary test; None: looked for in `validation_data`, in the
            tree's root and beside it. Without them its pictures are unlabelled.

    Returns:
        The manifest, relative to the folder that holds `training_data`, sorted by path. Training pictures have the
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
    if given.resolve() != (root / "training_data").resolve():
        records += _prelim(root, prelim_labels)
        final = root / _FINAL_FOLDER
        pictures = list_pictures(final) if final.is_dir() else []
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
    training = root / "training_data"
    for fold in _folders(training):
        number = fold.name.removeprefix("fold_")
        if number not in ("0", "1", "2"):
            raise DataError("not a fold of C-NMC 2019", path=fold, remedy="the folds are fold_0, fold_1 and fold_2")
        for folder in list_folders(fold):
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
    folder = root / _PRELIM_FOLDER
    pictures = list_pictures(folder) if folder.is_dir() else []
    if not pictures:
        return []
    table = Path(given) if given is not None else find_labels(root)
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
