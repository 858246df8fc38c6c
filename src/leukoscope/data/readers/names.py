"""The names of C-NMC 2019 pictures: `UID_<subject>_<field>_<cell>_<all|hem>`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from leukoscope.data.record import BLAST, NORMAL

_PATTERN: Final = re.compile(r"UID_(H?)(\d+)_(\d+)_(\d+)_(all|hem)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class CellName:
    """What a name says of its cell.

    Attributes:
        subject: with a capital H for healthy subjects: 36 pictures of subject H3 are published as `UID_h3_...`.
        field: number of the microscope field within the subject.
        cell: number of the cell.
        label: 1 for `all`, 0 for `hem`.
    """

    subject: str
    field: str
    cell: str
    label: int

    @staticmethod
    def parse(name: str) -> CellName | None:
        """Read a file name, with or without suffix; None where it is not such a name.

        A name that calls a healthy subject leukemic, or the reverse, contradicts itself and is none.

        >>> CellName.parse("UID_h3_12_4_hem.bmp")
        CellName(subject='H3', field='12', cell='4', label=0)
        >>> CellName.parse("UID_H3_12_4_all.bmp") is None
        True
        """
        stem = PurePosixPath(name).stem if "." in name else name
        match = _PATTERN.fullmatch(stem)
        if match is None:
            return None
        healthy, number, field, cell, word = match.groups()
        label = BLAST if word.lower() == "all" else NORMAL
        if bool(healthy) != (label == NORMAL):
            return None
        return CellName(f"{healthy.upper()}{number}", field, cell, label)
