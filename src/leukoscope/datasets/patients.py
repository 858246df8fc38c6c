"""Patients: the unit of splitting and of resampling, in words that claim none where none are known.

How a group is written where its picture's patient is not known stands here and nowhere else: `picture:` and a path. A
split or an interval over such groups is one over pictures, which is an assumption and is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

_UNKNOWN: Final = "picture:"


def unknown_patient(path: str) -> str:
    """The group of a picture whose patient is not known: it is a group of its own.

    >>> unknown_patient("im/1.png")
    'picture:im/1.png'
    """
    return f"{_UNKNOWN}{path}"


def picture_of(group: str) -> str | None:
    """The path of the picture that a group is, as `unknown_patient` names it; None for a patient.

    >>> picture_of(unknown_patient("im/1.png")), picture_of("20+21")
    ('im/1.png', None)
    """
    return group.removeprefix(_UNKNOWN) if group.startswith(_UNKNOWN) else None


def patient_words(known: int, unknown: int = 0) -> str:
    """How many patient groups there are, and whether there are pictures of which nobody knows the patient.

    >>> patient_words(2), patient_words(0, 1), patient_words(1, 1)
    ('2 patient groups', 'unknown patients', '1 patient group and unknown patients')
    """
    counted = f"{known:,} patient group{'' if known == 1 else 's'}"
    if not unknown:
        return counted
    return f"{counted} and unknown patients" if known else "unknown patients"


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """Whose the pictures of a table are.

    Attributes:
        unit: the row in ``group`` of each picture, int64 [N].
        group: the distinct patient groups as they are written, sorted, str [G]; see `unknown_patient`.
        known: whether each is a patient's, bool [G]; the others are pictures whose patient is not known.
    """

    unit: NDArray[np.int64]
    group: NDArray[Any]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, groups: ArrayLike) -> Self:
        """From the group of each picture, str or int [N], or from the distinct groups of some pictures."""
        group, unit = np.unique(np.asarray(groups), return_inverse=True)
        known = np.array([picture_of(str(name)) is None for name in group.tolist()], dtype=np.bool_)
        return cls(unit.reshape(-1).astype(np.int64), group, known)

    @property
    def count(self) -> int:
        """How many patients are known."""
        return int(self.known.sum())

    @property
    def unknown(self) -> int:
        """How many groups are pictures whose patient is not known."""
        return int((~self.known).sum())

    @property
    def all_known(self) -> bool:
        """Whether no picture is among them whose patient is not known."""
        return not self.unknown

    def names(self) -> list[str]:
        """The known patients, in the order in which they first occur."""
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        """The number of pictures of each known patient, in the order in which they first occur."""
        _, first, pictures = np.unique(self.unit, return_index=True, return_counts=True)
        order = [unit for unit in np.argsort(first).tolist() if self.known[unit]]
        return {str(self.group[unit]): int(pictures[unit]) for unit in order}

    def strata(self, label: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The units with blasts only, with normal cells only, and with both, of labels 0 or 1 [N]."""
        blasts = np.bincount(self.unit, weights=np.asarray(label, dtype=np.float64)) / np.bincount(self.unit)
        mixed = (blasts > 0) & (blasts < 1)
        return np.flatnonzero(blasts == 1), np.flatnonzero(blasts == 0), np.flatnonzero(mixed)

    def words(self) -> str:
        """How many they are.

        >>> Patients.of(["a", "b", "a"]).words(), Patients.of(["a", unknown_patient("1.png")]).words()
        ('2 patient groups', '1 patient group and unknown patients')
        """
        return patient_words(self.count, self.unknown)

    def listing(self) -> str:
        """The patients by name, and the number of pictures without one.

        >>> Patients.of(["a", unknown_patient("1.png"), unknown_patient("2.png")]).listing()
        'a, 2 pictures of unknown patients'
        """
        lone = self.unknown
        rest = [f"{lone:,} picture{'' if lone == 1 else 's'} of unknown patients"] if lone else []
        return ", ".join([*self.names(), *rest])
