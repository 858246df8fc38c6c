"""What an audit takes: a data set that the readers know, or any folder of pictures; and a split to check."""

from __future__ import annotations

import json
from pathlib import Path

from leukoscope.data.manifest import Manifest, Record
from leukoscope.data.readers import read_dataset
from leukoscope.data.readers.pictures import list_pictures
from leukoscope.errors import DataError

_PARTS = ("train", "val", "test")


def read_any(path: Path) -> tuple[Manifest, str | None]:
    """Read a data set; a folder that no reader takes is read as pictures without label and subject.

    Returns:
        The manifest, and why no reader took the folder, or None.

    Raises:
        DataError: a table is unusable, or the folder holds no picture.
    """
    try:
        return read_dataset(path, both_classes=False), None
    except DataError as error:
        if not path.is_dir():
            raise
        names = [file.relative_to(path).as_posix() for file in list_pictures(path, deep=True)]
        if not names:
            raise
        records = tuple(
            Record(path=name, label=None, subject=None, group=None, fold=None, source="pictures", field=None)
            for name in names
        )
        return Manifest(path, records, path.resolve().name), error.what


def read_parts(path: Path) -> dict[str, str]:
    """Path to part, of a split stored as JSON by `Split.to_dict`.

    Raises:
        DataError: not such a file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): part for part in _PARTS for name in value[part]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"not a stored split ({error!r})", path=path, remedy="give the split.json that training wrote"
        ) from error
