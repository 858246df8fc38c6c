"""Whose pictures they are, in words that claim no patients where none are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: What the group of a picture begins with whose patient is not known: it is a group of its own.
LONE: Final = "picture:"


def known_patients(groups: Iterable[str]) -> list[str]:
    """The groups that are patients, in their order.

    >>> known_patients(["a", "picture:1.png", "b"])
    ['a', 'b']
    """
    return [group for group in groups if not group.startswith(LONE)]


def all_known(groups: Iterable[str]) -> bool:
    """Whether no picture is among them whose patient is not known.

    >>> all_known(["a", "b"]), all_known(["a", "picture:1.png"])
    (True, False)
    """
    return not any(group.startswith(LONE) for group in groups)


def whose(groups: Iterable[str]) -> str:
    """How many patient groups there are, and whether there are pictures of which nobody knows the patient.

    >>> whose(["a", "b"]), whose(["picture:1.png"]), whose(["a", "picture:1.png"])
    ('2 patient groups', 'unknown patients', '1 patient group and unknown patients')
    """
    groups = list(groups)
    return whose_of(len(groups), len(groups) - len(known_patients(groups)))


def whose_of(groups: int, lone: int = 0) -> str:
    """The same of a number of groups, ``lone`` of which are pictures whose patient is not known.

    >>> whose_of(2), whose_of(2, lone=1)
    ('2 patient groups', '1 patient group and unknown patients')
    """
    known = groups - lone
    counted = f"{known:,} patient group{'' if known == 1 else 's'}"
    if not lone:
        return counted
    return f"{counted} and unknown patients" if known else "unknown patients"


def listed(groups: Iterable[str]) -> str:
    """The patient groups by name, and the number of pictures without one.

    >>> listed(["a", "b"]), listed(["a", "picture:1.png", "picture:2.png"])
    ('a, b', 'a, 2 pictures of unknown patients')
    """
    groups = list(groups)
    known = known_patients(groups)
    lone = len(groups) - len(known)
    rest = [f"{lone:,} picture{'' if lone == 1 else 's'} of unknown patients"] if lone else []
    return ", ".join([*known, *rest])
