"""From a folder or a table to a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.identity import one_file_each
from leukoscope.datasets.known_sets import Reader, SetFacts, add_facts, readers
from leukoscope.datasets.readers.allidb import read_allidb
from leukoscope.datasets.readers.cnmc import read_cnmc
from leukoscope.datasets.readers.folders import read_folders
from leukoscope.datasets.readers.review import read_review
from leukoscope.datasets.readers.table import read_table
from leukoscope.datasets.record import CLASS_WORDS, SYNTHETIC_NOTE, accepted_words
from leukoscope.errors import DataError
from leukoscope.text import nearest_first

__all__ = ["read_allidb", "read_cnmc", "read_dataset", "read_folders", "read_review", "read_table", "reader_names"]

add_facts(
    SetFacts(
        name="rendered",
        title="rendered cells",
        terms="Rendered cells: made by Leukoscope, of no patient, under its own licence.",
        limits="**It was trained on rendered cells.** What it says of real cells means nothing.",
    )
)


def reader_names() -> tuple[str, ...]:
    """`auto`, and all readers in the order in which it asks them."""
    return ("auto", *readers())


def read_dataset(
    path: str | PathLike[str],
    *,
    reader: str = "auto",
    both_classes: bool = True,
    classes: Mapping[str, int] = CLASS_WORDS,
) -> Manifest:
    """Read a data set.

    Args:
        path: a folder, a CSV file, or a review exported from a gallery.
        reader: one of `reader_names`: `auto` takes the first that fits of: a file is a table; a C-NMC 2019 tree; a
            folder with a `manifest.csv`; other published sets; a folder with class folders.
        both_classes: whether a missing class is an error, as it must be for training (`folders` and `table`).
        classes: the words for the classes in folders and tables, from `leukoscope.datasets.record.class_words`.

    Raises:
        DataError: an unknown reader, nothing that fits, or what the reader finds wrong.
    """
    if reader not in reader_names():
        near = ", ".join(nearest_first(reader, reader_names()))
        raise DataError(f"there is no reader {reader!r}", path=path, remedy=f"use one of {near}")
    place = Path(path)
    if not place.exists():
        raise DataError("does not exist", path=path)
    chosen = _detect(place, classes) if reader == "auto" else readers()[reader]
    found = one_file_each(chosen(place, both_classes=both_classes, classes=classes))
    return _rendered(found) if not chosen.files and _is_rendered(found.root) else found


def _is_rendered(root: Path) -> bool:
    return any((folder / SYNTHETIC_NOTE).is_file() for folder in (root, root.parent))


def _rendered(manifest: Manifest) -> Manifest:
    """The manifest with every source named as rendered, so that a model trained on it cannot pass for another."""
    records = tuple(replace(record, source=f"rendered/{record.source}") for record in manifest.records)
    return replace(manifest, records=records, name="rendered")


def _detect(place: Path, classes: Mapping[str, int]) -> Reader:
    for each in readers().values():
        if each.fits(place, classes):
            return each
    looked = ", for ".join(each.looks_for for each in readers().values() if each.looks_for)
    raise DataError(
        f"no data set recognised; looked for {looked}, and for folders named {accepted_words(classes)}",
        path=place,
        remedy="arrange the pictures in class folders (of other names: give --classes), or list them in a CSV file "
        "with the columns path,label",
    )
