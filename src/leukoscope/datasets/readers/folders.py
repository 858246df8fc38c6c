"""A folder per class, with or without a folder per subject inside."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest
from leukoscope.datasets.pictures import list_folders, list_pictures, refuse_collisions, shorten
from leukoscope.datasets.record import LABEL_WORDS, Record, accepted_words, class_of
from leukoscope.errors import DataError

SOURCE: Final = "folders"


def read_folders(path: str | PathLike[str], *, both_classes: bool = True) -> Manifest:
    """Read `class/picture` or `class/subject/picture`; folders inside a subject's folder are fields.

    Class folders are recognised by `leukoscope.datasets.record.CLASS_WORDS`, in upper or lower case. A picture directly
    in a class folder has no subject. A subject's name that occurs under both classes is one subject.

    Args:
        path: the folder that holds the class folders.
        both_classes: whether a missing class is an error, as it must be for training.

    Raises:
        DataError: a folder that is no class, a missing class, pictures outside class folders, no pictures, or names
            that differ only in case.
    """
    root = Path(path)
    folders = list_folders(root)
    unknown = [folder.name for folder in folders if class_of(folder.name) is None]
    words = f"name class folders as one of {accepted_words()}"
    if unknown:
        raise DataError(
            f"folders that name no class: {shorten(unknown)}", path=root, remedy=f"{words}, or move them away"
        )
    loose = list_pictures(root)
    if loose:
        raise DataError(
            f"{len(loose)} pictures, such as {loose[0].name}, stand in no class folder", path=root, remedy=words
        )
    records: list[Record] = []
    for folder in folders:
        label = class_of(folder.name)
        for picture in list_pictures(folder, deep=True):
            inner = picture.relative_to(folder).parts[:-1]
            subject = inner[0] if inner else None
            field = "/".join(inner[1:]) or None
            name = picture.relative_to(root).as_posix()
            records.append(Record(name, label, subject, subject, None, SOURCE, field))
    if not records:
        raise DataError("no pictures in class folders", path=root, remedy=words)
    held = {record.label for record in records}
    for label in (BLAST, NORMAL):
        if both_classes and label not in held:
            raise DataError(f"no pictures of the class {LABEL_WORDS[label]}", path=root, remedy=words)
    refuse_collisions((record.path for record in records), root)
    return Manifest(root, tuple(sorted(records, key=lambda record: record.path)), root.resolve().name)


def holds_class_folders(path: Path) -> bool:
    """Whether any folder directly inside bears the name of a class."""
    return any(class_of(folder.name) is not None for folder in list_folders(path))
