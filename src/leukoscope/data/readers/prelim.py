"""The published labels of the preliminary test of C-NMC 2019.

The pictures are numbered `1.bmp` to `1867.bmp`. The table has the columns `Patient_ID,new_names,labels`; the first
holds the full original name, which says subject and class, and label 1 means `all`, that is leukemic. Copies exist that
write 0 for `all`; as the name says the class, such a table is recognised, and refused rather than repaired: whoever
reads its column elsewhere would get the classes exchanged.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Final

from leukoscope.data.readers.names import CellName
from leukoscope.data.record import BLAST
from leukoscope.data.rows import read_lines
from leukoscope.errors import DataError

FILE: Final = "C-NMC_test_prelim_phase_data_labels.csv"


def find_labels(root: Path) -> Path | None:
    """The table in `validation_data`, beside the pictures, in the tree's root or beside the root; None if nowhere."""
    validation = root / "validation_data"
    places = (validation, validation / "C-NMC_test_prelim_phase_data", root, root.resolve().parent)
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


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
    _, rows = read_lines(file, ("patient_id", "new_names", "labels"))
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
