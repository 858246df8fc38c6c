"""Several data sets as one, each still told apart; and whose patients two data sets share by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.known_sets import known_sets
from leukoscope.datasets.patients import picture_of, unknown_patient
from leukoscope.datasets.record import Record
from leukoscope.errors import DataError


def combine(sets: Sequence[Manifest]) -> Manifest:
    """One data set of several.

    The paths of a part start with its name, and so do its subjects and groups (`cnmc2019:20+21`), so that equal numbers
    of two laboratories stay two patients. The order of the parts does not matter: the same sets give the same records
    and the same fingerprint, wherever they lie.

    Args:
        sets: data sets of different names; a single one comes back as it is.

    Raises:
        DataError: none given, one given twice, one that is combined already, or sets that are not independent.
    """
    if not sets:
        raise DataError("there is no data set to combine")
    if len(sets) == 1:
        return sets[0]
    nested = [each for each in sets if each.parts]
    if nested:
        raise DataError(
            f"{nested[0].name} is combined already", path=nested[0].root, remedy="give each single data set once"
        )
    names = set_names(sets)
    for kin in _kin():
        if len(kin & {record.source.rpartition("/")[2] for each in sets for record in each.records}) > 1:
            raise DataError(
                f"{' and '.join(sorted(kin))} are not independent: the cells of one are cut out of the pictures of the "
                "other, and nobody published which",
                remedy="combine only one of them with other sets",
            )
    ordered = sorted(zip(names, sets, strict=True), key=lambda pair: pair[0])
    records = tuple(
        sorted(
            (_within(name, each.name, r) for name, each in ordered for r in each.records),
            key=lambda record: record.path,
        )
    )
    roots = tuple((name, each.root.resolve()) for name, each in ordered)
    notes = tuple(note for _, each in ordered for note in each.notes)
    return Manifest(_common([root for _, root in roots]), records, "+".join(sorted(names)), roots, notes)


def parts_of(manifest: Manifest) -> NDArray[Any]:
    """Which data set each picture comes from, strings [N]: its part, or the set that its source names."""
    if manifest.parts:
        return np.array([record.path.partition("/")[0] for record in manifest.records], dtype=np.str_)
    return np.array([record.source.partition("/")[0] for record in manifest.records], dtype=np.str_)


def same_patients(trained_on: str, groups: Iterable[str], data: Manifest) -> set[str]:
    """Groups of a data set that are named among the groups of a training set, either of which may be combined.

    Args:
        trained_on: name of the training set.
        groups: its groups.
        data: the other set.

    Returns:
        Names of groups as ``data`` gives them.
    """
    told = list(groups)
    combined = "+" in trained_on and all(_owner(group) in trained_on.split("+") for group in told)
    seen = {_canonical(group) if combined or _published(group) else (trained_on, group) for group in told}
    return {group for group in set(data.groups().tolist()) if _owned(group, data) in seen}


def kin_of(trained_on: str, data: Manifest) -> str | None:
    """A sentence where a data set shares unknown patients with the training set, under other names; else None."""
    there, here = set(trained_on.split("+")), set(data.name.split("+"))
    for kin in _kin():
        trained, tested = kin & there, kin & here
        if trained and tested and trained != tested:
            return (
                f"The model was trained on {', '.join(sorted(trained))}, and {', '.join(sorted(tested))} shows the "
                "same patients under other names: the figures say nothing about new ones."
            )
    return None


def _kin() -> set[frozenset[str]]:
    """Sets that show the same patients under other names, where nobody published who is who."""
    return {facts.kin | {name} for name, facts in known_sets().items() if facts.kin}


def set_names(sets: Sequence[Manifest]) -> list[str]:
    """A distinct name for each set, that can start a path.

    Raises:
        DataError: a set is given twice, or two of laboratories bear one name and come from one source.
    """
    for rest in (_no_rest, _inner, _print):
        names = [re.sub(r"[^\w.-]+", "-", f"{each.name}{rest(each)}").strip(".") or "data" for each in sets]
        if len({name.casefold() for name in names}) == len(sets):
            return names
    prints = [each.fingerprint() for each in sets]
    what = "is given twice" if len(set(prints)) < len(prints) else "bears the name of another"
    raise DataError(
        f"a data set {what}: {', '.join(sorted(names))}",
        remedy="give each set once, under names of their own (the name of a folder or of a CSV file)",
    )


def _no_rest(_: Manifest) -> str:
    return ""


def _print(manifest: Manifest) -> str:
    return f"-{manifest.fingerprint()[:6]}" if _published(f"{manifest.name}:") else ""


def _inner(manifest: Manifest) -> str:
    return "-" + "+".join(sorted({record.source.rpartition("/")[2] for record in manifest.records}))


def _within(name: str, named: str, record: Record) -> Record:
    # Two parts of one published set show the same patients: these bear the name of the set, not of the part.
    owner = named if _published(f"{named}:") else name

    def owned(text: str | None) -> str | None:
        if not text or _published(text):
            return text
        path = picture_of(text)
        return f"{owner}:{text}" if path is None else unknown_patient(f"{name}/{path}")

    return replace(record, path=f"{name}/{record.path}", subject=owned(record.subject), group=owned(record.group))


def _owned(group: str, data: Manifest) -> tuple[str, str]:
    """The data set that a group belongs to, and its name there."""
    return _canonical(group) if data.parts or _published(group) else (data.name, group)


def _published(group: str) -> bool:
    """Whether a group says itself of which published set it is, as in a folder that holds some of its pictures."""
    facts = known_sets().get(group.partition(":")[0]) if ":" in group else None
    return facts is not None and facts.parse is not None


def _owner(group: str) -> str:
    return _canonical(group)[0]


def _canonical(group: str) -> tuple[str, str]:
    """The part and the group within it, of a group of a combined set."""
    path = picture_of(group)
    if path is not None:
        part, _, rest = path.partition("/")
        return part, unknown_patient(rest)
    part, _, rest = group.partition(":")
    return _canonical(rest) if _published(rest) else (part, rest)


def _common(roots: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath(roots))
    except ValueError:  # on different drives
        return roots[0]
