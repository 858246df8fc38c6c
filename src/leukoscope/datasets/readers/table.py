"""A CSV file that lists pictures and their classes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest
from leukoscope.datasets.pictures import refuse_collisions, shorten
from leukoscope.datasets.readers.cnmc import CellName
from leukoscope.datasets.record import CLASS_WORDS, LABEL_WORDS, Record
from leukoscope.datasets.table import read_head, read_records
from leukoscope.errors import DataError

SOURCE: Final = "csv"


def read_table(
    path: str | PathLike[str], *, root: str | PathLike[str] | None = None, both_classes: bool = True
) -> Manifest:
    """Read a CSV file with the columns path and label, and if it has them subject, group, fold, source and field.

    Labels are words of `leukoscope.datasets.record.CLASS_WORDS`; an empty one is unknown. A manifest written by
    `Manifest.write_csv` is read too.

    Args:
        path: the CSV file.
        root: folder that its paths are relative to; None: what the file says, else its own folder.
        both_classes: whether a missing class is an error, as it must be for training.

    Raises:
        DataError: what `read_manifest` raises; a picture that is not there; a missing class; a label that contradicts
            a name of the C-NMC 2019 pattern, as in copies of that set that write 0 for leukemic.
    """
    file = Path(path)
    base = None if root is None else Path(root)
    words = {**CLASS_WORDS, "": None}
    where, records = read_records(file, required=("path", "label"), words=words, root=base, source=SOURCE)
    if not records:
        raise DataError("lists no pictures", path=file)
    _refuse_contradictions(records, file)
    refuse_collisions((record.path for record in records), where)
    parts = read_head(file).parts
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
    return manifest


def _refuse_contradictions(records: tuple[Record, ...], file: Path) -> None:
    """Compare labels with names that say the class themselves."""
    named = [(record, name) for record in records if (name := CellName.parse(Path(record.path).name)) is not None]
    wrong = [record.path for record, name in named if record.label is not None and record.label != name.label]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(named)} labels contradict the class in the C-NMC 2019 name: {shorten(wrong, 3)}",
            path=file,
            remedy="write blast for names in _all, normal for names in _hem; some copies of the set use 0 for leukemic",
        )
