"""A folder per class, with or without a folder per subject inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest
from leukoscope.datasets.identity import identified
from leukoscope.datasets.known_sets import reader
from leukoscope.datasets.pictures import leads_back, list_folders, list_pictures, refuse_collisions, shorten
from leukoscope.datasets.record import CLASS_WORDS, LABEL_WORDS, Record, accepted_words, class_of
from leukoscope.errors import DataError

SOURCE: Final = "folders"
_DEEPEST: Final = 3


@reader(
    "folders",
    fits=lambda place, classes: bool(class_homes(place, classes)),
    order=90,
    words=True,
)
def read_folders(
    path: str | PathLike[str], *, both_classes: bool = True, classes: Mapping[str, int] = CLASS_WORDS
) -> Manifest:
    """Read `class/picture` or `class/subject/picture`; folders inside a subject's folder are fields.

    Class folders are recognised by ``classes``, in upper or lower case, directly inside or up to three folders deeper:
    `images/blast`, or `train/blast` beside `test/blast`, whose division is noted and not used. A picture directly in a
    class folder has no subject. A subject's name that occurs under both classes is one subject.

    Args:
        path: the folder that holds the class folders.
        both_classes: whether a missing class is an error, as it must be for training.
        classes: the words for the classes, in lower case.

    Raises:
        DataError: a folder that is no class, a missing class, pictures outside class folders, no pictures, or names
            that differ only in case.
    """
    root = Path(path)
    words = f"name class folders as one of {accepted_words(classes)}, or say what theirs mean with --classes"
    records: list[Record] = []
    homes = class_homes(root, classes) or [root]
    for home in homes:
        records += _records(home, root, classes, words)
    if not records:
        raise DataError("no pictures in class folders", path=root, remedy=words)
    held = {record.label for record in records}
    for label in (BLAST, NORMAL):
        if both_classes and label not in held:
            raise DataError(f"no pictures of the class {LABEL_WORDS[label]}", path=root, remedy=words)
    refuse_collisions((record.path for record in records), root)
    notes: tuple[str, ...] = ()
    if len(homes) > 1:
        named = ", ".join(home.relative_to(root).as_posix() for home in homes)
        notes = (f"The folders {named} are read as one set; their division is not used.",)
    ordered = tuple(sorted(records, key=lambda record: record.path))
    return identified(Manifest(root, ordered, root.resolve().name, notes=notes))


def class_homes(path: Path, classes: Mapping[str, int] = CLASS_WORDS, depth: int = _DEEPEST) -> list[Path]:
    """The folders that hold class folders: ``path`` itself, or those inside it, down to ``depth`` folders deeper."""
    inner = list_folders(path)
    if any(class_of(folder.name, classes) is not None for folder in inner):
        return [path]
    if depth == 0:
        return []
    return [home for folder in inner if not leads_back(folder) for home in class_homes(folder, classes, depth - 1)]


def _records(home: Path, root: Path, classes: Mapping[str, int], words: str) -> Iterator[Record]:
    folders = list_folders(home)
    unknown = [folder.name for folder in folders if class_of(folder.name, classes) is None]
    if unknown:
        raise DataError(
            f"folders that name no class: {shorten(unknown)}", path=home, remedy=f"{words}, or move them away"
        )
    loose = list_pictures(home)
    if loose:
        raise DataError(
            f"{len(loose)} pictures, such as {loose[0].name}, stand in no class folder", path=home, remedy=words
        )
    for folder in folders:
        label = class_of(folder.name, classes)
        for picture in list_pictures(folder, deep=True):
            inner = picture.relative_to(folder).parts[:-1]
            subject = inner[0] if inner else None
            field = "/".join(inner[1:]) or None
            yield Record(picture.relative_to(root).as_posix(), label, subject, subject, None, SOURCE, field)
