"""What a data set is: an immutable table of pictures."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukoscope.datasets.patients import Patients, unknown_patient
from leukoscope.datasets.record import BLAST, LABEL_WORDS, NORMAL, Record
from leukoscope.datasets.table import COLUMNS, manifest_text, read_records
from leukoscope.errors import DataError
from leukoscope.files import write_text
from leukoscope.tables import read_preamble

__all__ = ["BLAST", "NORMAL", "Manifest", "Record", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The pictures of a data set, in a fixed order.

    Attributes:
        root: folder that the records' paths are relative to.
        records: one per picture.
        name: short name of the data set, for titles.
        parts: of a combined data set, name and root of each one that it is made of; a record's path then starts with
            the name of its part, so that it is the same wherever the parts lie.
        notes: what its reader found out, in sentences; not written with the records.

    Raises:
        DataError: a path stands twice, is absolute or leads out of the root, or names no part.
    """

    root: Path
    records: tuple[Record, ...]
    name: str
    parts: tuple[tuple[str, Path], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        repeated = [path for path, times in Counter(record.path for record in self.records).items() if times > 1]
        if repeated:
            raise DataError(f"{len(repeated)} paths stand more than once, such as {repeated[0]}", path=self.root)
        for record in self.records:
            if record.path.startswith("/") or ".." in PurePosixPath(record.path).parts:
                raise DataError(f"the path {record.path} is not inside the root", path=self.root)
        if self.parts:
            known = {name for name, _ in self.parts}
            lost = [record.path for record in self.records if record.path.partition("/")[0] not in known]
            if lost:
                raise DataError(f"the path {lost[0]} starts with no part of the combined data set", path=self.root)

    def __len__(self) -> int:
        return len(self.records)

    def labels(self) -> NDArray[np.int64]:
        """Labels, int64 [N]: 1 blast, 0 normal, -1 unknown."""
        return np.array([-1 if record.label is None else record.label for record in self.records], dtype=np.int64)

    def subjects(self) -> NDArray[Any]:
        """Subjects as strings [N], empty where unknown."""
        return np.array([record.subject or "" for record in self.records], dtype=np.str_)

    def groups(self) -> NDArray[Any]:
        """Patient groups as strings [N].

        A picture without a group stands for its subject; one without a subject too is a group of its own, as
        `unknown_patient` names it. That is an assumption: a split by group of such pictures is a split by picture.
        """
        return np.array([r.group or r.subject or unknown_patient(r.path) for r in self.records], dtype=np.str_)

    def patients(self) -> Patients:
        """Whose the pictures are."""
        return Patients.of(self.groups())

    def paths(self) -> list[Path]:
        """Paths of the pictures, under the root or under that of their part."""
        return [self.locate(record) for record in self.records]

    def locate(self, record: Record) -> Path:
        """Path of a record's picture."""
        if not self.parts:
            return self.root / record.path
        part, _, rest = record.path.partition("/")
        return dict(self.parts)[part] / rest

    def select(self, which: ArrayLike) -> Manifest:
        """The manifest of some pictures.

        Args:
            which: indices, integer [M], in the wanted order and without repeats; or a mask, bool [N].

        Raises:
            DataError: an index is out of range or repeated, or the mask has another length.
        """
        chosen = np.asarray(which)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.dtype == np.bool_:
            if chosen.shape != (len(self),):
                raise DataError(f"a mask of shape {chosen.shape} cannot select from {len(self)} pictures")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise DataError(f"pictures are selected by whole numbers or by a mask, not by {chosen.dtype}")
        if chosen.size and (chosen.min() < -len(self) or chosen.max() >= len(self)):
            raise DataError(f"an index lies outside the {len(self)} pictures")
        return replace(self, records=tuple(self.records[i] for i in chosen.tolist()))

    def labelled(self) -> Manifest:
        """The manifest of the pictures whose label is known."""
        return self.select(self.labels() >= 0)

    def fingerprint(self) -> str:
        """SHA-256 in hex over the sorted (path, label, subject, group) of all pictures.

        Two manifests of the same pictures have the same fingerprint wherever they lie and in whatever order. What is
        in the picture files is not looked at: `verify_checksums` and the frame cache do that.
        """
        lines = sorted(json.dumps([r.path, LABEL_WORDS[r.label], r.subject, r.group]) for r in self.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def write_csv(self, path: str | PathLike[str]) -> None:
        """Write the manifest, with the columns path, label, subject, group, fold, source and field.

        A label is written `blast`, `normal` or left empty. A file that does not lie in the root starts with the
        line `# root: ...`, so that `read_manifest` finds the pictures; a combined data set has a line
        `# part: NAME = ...` for each part.
        """
        write_text(path, manifest_text(self.root, self.records, Path(path), self.parts))


def read_manifest(path: str | PathLike[str], *, root: str | PathLike[str] | None = None) -> Manifest:
    """Read what `Manifest.write_csv` wrote. The pictures need not be there.

    Args:
        path: the CSV file.
        root: folder of the pictures; None: what the file says, else its own folder.

    Raises:
        DataError: an unreadable file, a missing column, an unknown label, a path that stands twice or leads out of
            the root; the message names file and line.
    """
    file = Path(path)
    words = {word: label for label, word in LABEL_WORDS.items()}
    base = None if root is None else Path(root)
    where, records = read_records(file, required=COLUMNS, words=words, root=base, source="csv", ours=True)
    parts = read_preamble(file).parts
    return Manifest(where, records, "+".join(name for name, _ in parts) or file.stem, parts)
