"""A CSV file that lists pictures and their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest
from leukoscope.datasets.identity import identified
from leukoscope.datasets.known_sets import reader
from leukoscope.datasets.pictures import refuse_collisions, shorten
from leukoscope.datasets.record import CLASS_WORDS, LABEL_WORDS, Record
from leukoscope.datasets.table import read_records
from leukoscope.errors import DataError
from leukoscope.tables import read_preamble

SOURCE: Final = "csv"
MANIFEST_FILE: Final = "manifest.csv"


@reader(
    "table",
    fits=lambda place, _: place.is_file() or (place / MANIFEST_FILE).is_file(),
    looks_for=MANIFEST_FILE,
    order=20,
    files=True,
    words=True,
)
def read_table(
    path: str | PathLike[str],
    *,
    root: str | PathLike[str] | None = None,
    both_classes: bool = True,
    classes: Mapping[str, int] = CLASS_WORDS,
) -> Manifest:
    """Read a CSV file with the columns path and label, and if it has them subject, group, fold, source and field.

    Labels are words of ``classes``; an empty one is unknown. A manifest written by
    `Manifest.write_csv` is read too.

    Args:
        path: the CSV file, or a folder that holds a `manifest.csv`.
        root: folder that its paths are relative to; None: what the file says, else its own folder.
        both_classes: whether a missing class is an error, as it must be for training.
        classes: the words for the classes, in lower case.

    Raises:
        DataError: what `read_manifest` raises; a picture that is not there; a missing class.
    """
    file = Path(path)
    file = file / MANIFEST_FILE if file.is_dir() else file
    base = None if root is None else Path(root)
    words = {**classes, "": None}
    where, records = read_records(file, required=("path", "label"), words=words, root=base, source=SOURCE)
    if not records:
        raise DataError("lists no pictures", path=file)
    refuse_collisions((record.path for record in records), where)
    records = tuple(_as_on_disk(record, where) for record in records)
    parts = read_preamble(file).parts
    manifest = Manifest(where, records, "+".join(name for name, _ in parts) or file.stem, parts)
    absent = [record.path for record in records if not manifest.locate(record).is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(records)} pictures are not under {where}: {shorten(absent)}",
            path=file,
            remedy="put the file beside the pictures, or start it with a line '# root: FOLDER'",
        )
    held = {record.label for record in records}
    for label in (BLAST, NORMAL):
        if both_classes and label not in held:
            raise DataError(f"no pictures of the class {LABEL_WORDS[label]}", path=file)
    return identified(manifest)


def _as_on_disk(record: Record, root: Path) -> Record:
    """The record under the spelling of the disk, where accents are composed in one and decomposed in the other."""
    if record.path.isascii() or (root / record.path).exists():
        return record
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, record.path)
        if (root / name).exists():
            return replace(record, path=name)
    return record
