"""Whose cell a picture shows, by its own published name, whatever folder or table it stands in; and links to one file.

A copy of C-NMC 2019 may lie in any layout, but its names say subject, field and class of each cell. They are believed
before folders and tables: a cell that a model was trained on is known again, and labels that contradict the names are
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.known_sets import NamedCell, SetFacts, known_sets
from leukoscope.datasets.pictures import shorten
from leukoscope.datasets.record import LABEL_WORDS, Record
from leukoscope.errors import DataError


def identified(manifest: Manifest) -> Manifest:
    """The manifest with subject, patient group, field and class of each picture that bears a published name.

    Where all pictures bear names of one set, it is that set under another roof and bears its name. Where some do,
    their subjects are told apart from those of other laboratories as in a combined set: `cnmc2019:11`.

    Raises:
        DataError: labels that contradict the names, or one cell held under two names of files.
    """
    for facts in known_sets().values():
        manifest = _identified(manifest, facts, facts.parse) if facts.parse is not None else manifest
    return manifest


def _identified(manifest: Manifest, facts: SetFacts, parse: Callable[[str], NamedCell | None]) -> Manifest:
    cells = [parse(PurePosixPath(record.path).name) for record in manifest.records]
    if not any(cells) or any(record.source.startswith(f"{facts.name}/") for record in manifest.records):
        return manifest  # none, or the official tree, whose reader has looked at its names
    pairs = list(zip(manifest.records, cells, strict=True))
    _refuse_contradictions([(record, cell) for record, cell in pairs if cell is not None], manifest, facts)
    _refuse_repeats((record for record, cell in pairs if cell is not None), manifest)
    whole = all(cells)
    groups, before = facts.groups(), "" if whole else f"{facts.name}:"
    records = tuple(
        record
        if cell is None
        else replace(
            record,
            label=cell.label,
            subject=f"{before}{cell.subject}",
            group=f"{before}{groups.get(cell.subject, cell.subject)}",
            field=cell.field,
            source=facts.name if record.source in {"folders", "csv"} else record.source,
        )
        for record, cell in pairs
    )
    return replace(manifest, records=records, name=facts.name if whole else manifest.name)


def one_file_each(manifest: Manifest) -> Manifest:
    """The manifest with each file once, where links lead to it several times; how many were left out is noted.

    Raises:
        DataError: one file stands under two classes or two subjects.
    """
    first: dict[str, Record] = {}
    kept: list[Record] = []
    again = 0
    for record in manifest.records:
        real = str(manifest.locate(record).resolve())
        held = first.setdefault(real, record)
        if held is record:
            kept.append(record)
            continue
        again += 1
        for what, one, other in (
            ("classes", LABEL_WORDS[held.label], LABEL_WORDS[record.label]),
            ("subjects", held.subject, record.subject),
        ):
            if one != other:
                raise DataError(
                    f"one file stands under two {what}, by a link: {held.path} ({one or 'unknown'}) and "
                    f"{record.path} ({other or 'unknown'})",
                    path=manifest.root,
                    remedy="remove the link",
                )
    if not again:
        return manifest
    word = "link leads" if again == 1 else "links lead"
    note = f"{again:,} {word} to pictures that stand there already; each file counts once."
    return replace(manifest, records=tuple(kept), notes=(*manifest.notes, note))


def _refuse_contradictions(pairs: list[tuple[Record, NamedCell]], manifest: Manifest, facts: SetFacts) -> None:
    wrong = [record.path for record, cell in pairs if record.label is not None and record.label != cell.label]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(pairs)} labels contradict the class in the {facts.title} name: {shorten(wrong, 3)}",
            path=manifest.root,
            remedy=facts.labels,
        )


def _refuse_repeats(records: Iterable[Record], manifest: Manifest) -> None:
    where: dict[str, str] = {}
    twice = []
    for record in records:
        name = PurePosixPath(record.path).stem.casefold()
        if where.setdefault(name, record.path) != record.path:
            twice.append(f"{where[name]} and {record.path}")
    if twice:
        raise DataError(
            f"{len(twice)} cells are held twice: {shorten(twice, 3)}", path=manifest.root, remedy="keep one file each"
        )
