"""Patient groups: the subjects of one patient, whatever names a data set gives them.

The unit of splitting and of resampling. Some data sets hold one patient under several subject names; a split by
subject then has the same cells on both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.known_sets import known_sets
from leukoscope.errors import DataError
from leukoscope.tables import read_rows
from leukoscope.text import natural


def group_name(subjects: Iterable[str]) -> str:
    """Name of a group: its subjects, the smallest first, joined with `+`.

    >>> group_name(["78", "51"])
    '51+78'
    """
    return "+".join(sorted(set(subjects), key=natural))


def known_groups(source: str) -> dict[str, str]:
    """Groups that are known of a published data set; a subject that is not named is a group of its own.

    Args:
        source: `cnmc2019`, or a source within it such as `cnmc2019/train`.

    Returns:
        Subject to group, from the table of facts with its evidence; empty for other sources.
    """
    facts = known_sets().get(source.partition("/")[0])
    return {} if facts is None else dict(facts.groups())


def read_groups(path: str | PathLike[str]) -> dict[str, str]:
    """Read a CSV file with the columns subject and group; others, such as evidence, are left alone.

    Raises:
        DataError: an unreadable file, a missing column, an empty cell, or a subject with two groups; with the line.
    """
    file = Path(path)
    mapping: dict[str, str] = {}
    _, rows = read_rows(file, ("subject", "group"))
    for line, row in rows:
        subject, group = row["subject"], row["group"]
        if not subject or not group:
            raise DataError(f"line {line}: a subject and its group must both be given", path=file)
        if mapping.setdefault(subject, group) != group:
            raise DataError(
                f"line {line}: subject {subject} stands in two groups, {mapping[subject]} and {group}", path=file
            )
    return mapping


def apply_groups(manifest: Manifest, mapping: Mapping[str, str]) -> Manifest:
    """Merge subjects into patient groups.

    Groups are only ever merged, never taken apart: subjects that share a group in the manifest stay together, and so
    do those that share one in ``mapping``, and whatever these two chain together. A merged group bears the name that
    the mapping gives it where that is one name for all its subjects, and else the name that `group_name` makes.
    Pictures without a subject stay as they are.

    Args:
        manifest: the pictures.
        mapping: subject to group.

    Returns:
        The same pictures with a group each, where they have a subject.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    present = {(record.subject, record.group or record.subject) for record in manifest.records if record.subject}
    for subject, group in present:
        parent[find(("old", str(group)))] = find(("subject", str(subject)))
    for subject, group in mapping.items():
        parent[find(("new", group))] = find(("subject", subject))
    merged: dict[tuple[str, str], set[str]] = defaultdict(set)
    old: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, name in list(parent):
        root = find((kind, name))
        if kind == "subject":
            merged[root].add(name)
        elif kind == "old":
            old[root].add(name)
    names: dict[tuple[str, str], str] = {}
    for root, subjects in merged.items():
        told = {mapping.get(subject) for subject in subjects} if subjects & mapping.keys() else old[root]
        only = next(iter(told)) if len(told) == 1 else None
        names[root] = only if only is not None else group_name(subjects)
    records = tuple(
        replace(record, group=names[find(("subject", record.subject))]) if record.subject else record
        for record in manifest.records
    )
    return replace(manifest, records=records)
