"""From a folder or a table to a manifest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.identity import one_file_each
from leukoscope.datasets.readers.allidb import find_allidb, read_allidb
from leukoscope.datasets.readers.cnmc import find_tree, read_cnmc
from leukoscope.datasets.readers.folders import class_homes, read_folders
from leukoscope.datasets.readers.table import read_table
from leukoscope.datasets.record import CLASS_WORDS, SYNTHETIC_NOTE, accepted_words
from leukoscope.errors import DataError

__all__ = ["READERS", "read_allidb", "read_cnmc", "read_dataset", "read_folders", "read_table"]

READERS: Final = ("auto", "cnmc", "allidb", "folders", "table")
MANIFEST_FILE: Final = "manifest.csv"


def read_dataset(
    path: str | PathLike[str],
    *,
    reader: str = "auto",
    both_classes: bool = True,
    classes: Mapping[str, int] = CLASS_WORDS,
) -> Manifest:
    """Read a data set.

    Args:
        path: a folder or a CSV file.
        reader: `cnmc`, `allidb`, `folders`, `table`, or `auto`, which takes the first that fits of: a file is a table;
            a C-NMC 2019 tree; a folder with a `manifest.csv`; ALL-IDB1 or ALL-IDB2; a folder with class folders.
        both_classes: whether a missing class is an error, as it must be for training (`folders` and `table`).
        classes: the words for the classes in folders and tables, from `leukoscope.datasets.record.class_words`.

    Raises:
        DataError: an unknown reader, nothing that fits, or what the reader finds wrong.
    """
    if reader not in READERS:
        near = difflib.get_close_matches(reader, READERS, n=1)
        meant = f"did you mean {near[0]}" if near else f"use one of {', '.join(READERS)}"
        raise DataError(f"there is no reader {reader!r}", path=path, remedy=meant)
    place = Path(path)
    if not place.exists():
        raise DataError("does not exist", path=path)
    chosen = _detect(place, classes) if reader == "auto" else reader
    if chosen == "table":
        table = place / MANIFEST_FILE if place.is_dir() else place
        return one_file_each(read_table(table, both_classes=both_classes, classes=classes))
    if not place.is_dir():
        raise DataError(f"is a file, the reader {chosen} needs a folder", path=path)
    if chosen == "cnmc":
        found = read_cnmc(place)
    elif chosen == "allidb":
        found = read_allidb(place)
    else:
        found = read_folders(place, both_classes=both_classes, classes=classes)
    found = one_file_each(found)
    return _rendered(found) if _is_rendered(found.root) else found


def _is_rendered(root: Path) -> bool:
    return any((folder / SYNTHETIC_NOTE).is_file() for folder in (root, root.parent))


def _rendered(manifest: Manifest) -> Manifest:
    """The manifest with every source named as rendered, so that a model trained on it cannot pass for another."""
    records = tuple(replace(record, source=f"rendered/{record.source}") for record in manifest.records)
    return replace(manifest, records=records, name="rendered")


def _detect(place: Path, classes: Mapping[str, int]) -> str:
    if place.is_file():
        return "table"
    if find_tree(place) is not None:
        return "cnmc"
    if (place / MANIFEST_FILE).is_file():
        return "table"
    if find_allidb(place):
        return "allidb"
    if class_homes(place, classes):
        return "folders"
    raise DataError(
        "no data set recognised; looked for training_data or C-NMC_Leukemia (C-NMC 2019), for im or img with ALL-IDB "
        f"names, for {MANIFEST_FILE}, and for folders named {accepted_words(classes)}",
        path=place,
        remedy="arrange the pictures in class folders (of other names: give --classes), or list them in a CSV file "
        "with the columns path,label",
    )
