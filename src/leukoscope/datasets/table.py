"""Rows of a CSV file as records, with errors that name the line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from leukoscope.datasets.record import LABEL_WORDS, Record, known_subject
from leukoscope.errors import DataError
from leukoscope.tables import PART_MARK, ROOT_MARK, csv_text, read_rows

COLUMNS: Final = ("path", "label", "subject", "group", "fold", "source", "field")


def manifest_text(root: Path, records: tuple[Record, ...], path: Path, parts: tuple[tuple[str, Path], ...] = ()) -> str:
    """The text of a manifest that is to lie at ``path``.

    A manifest that does not lie in its own root starts with a line `# root: ...`, relative to the manifest's folder;
    one that is combined has a line `# part: NAME = ...` for each part.
    """
    here = path.resolve().parent
    head = [] if here == root.resolve() else [f"{ROOT_MARK} {_seen_from(here, root)}\n"]
    head += [f"{PART_MARK} {name} = {_seen_from(here, folder)}\n" for name, folder in parts]
    rows = ((r.path, LABEL_WORDS[r.label], r.subject, r.group, r.fold, r.source, r.field) for r in records)
    return "".join(head) + csv_text(COLUMNS, rows)


def _seen_from(here: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(folder.resolve(), here)).as_posix()
    except ValueError:  # another drive of Windows: no relative path exists
        return folder.resolve().as_posix()


def read_records(
    path: Path,
    *,
    required: tuple[str, ...],
    words: Mapping[str, int | None],
    root: Path | None,
    source: str,
    ours: bool = False,
) -> tuple[Path, tuple[Record, ...]]:
    """Read a table of pictures.

    Args:
        path: the CSV file.
        required: columns that must be there.
        words: accepted labels in lower case.
        root: folder that the paths are relative to; None: what the `# root:` line says, else the file's own folder.
        source: the source of rows that do not name one.
        ours: the table was written by `manifest_text`, so that a subject named `NA` is one.

    Returns:
        The root and the records, in the order of the file.

    Raises:
        DataError: naming the file and the line of the first fault.
    """
    told, rows = read_rows(path, required)
    base = (root if root is not None else path.parent / (told or ".")).resolve()
    records: list[Record] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        name = _relative(row["path"], base, path, line)
        if name in seen:
            raise DataError(f"line {line}: {name} already stands in line {seen[name]}", path=path)
        seen[name] = line
        word = row["label"].lower()
        if word not in words and word.startswith("[") and "]" in word:  # `[Malignant] Pre-B`
            word = word[1 : word.index("]")].strip()
        if word not in words:
            known = ", ".join(repr(word) if word == "" else word for word in words)
            raise DataError(f"line {line}: unknown label {row['label']!r}", path=path, remedy=f"write one of {known}")
        fold = row.get("fold", "")
        if fold and not (fold.isascii() and fold.isdigit() and len(fold) < 10):
            raise DataError(f"line {line}: fold {fold!r} is not a whole number", path=path)
        records.append(
            Record(
                path=name,
                label=words[word],
                subject=row.get("subject") or None if ours else known_subject(row.get("subject")),
                group=row.get("group") or None if ours else known_subject(row.get("group")),
                fold=int(fold) if fold else None,
                source=row.get("source") or source,
                field=row.get("field") or None,
            )
        )
    return base, tuple(records)


def _relative(written: str, base: Path, path: Path, line: int) -> str:
    """The path of a row relative to the root; absolute paths are accepted only inside the root."""
    remedy = "write paths relative to the root of the data, with / between folders"
    if not written:
        raise DataError(f"line {line}: no path", path=path, remedy=remedy)
    name = PurePosixPath(written.replace("\\", "/"))
    if name.is_absolute() or PureWindowsPath(written).drive:
        try:
            name = PurePosixPath(Path(written).relative_to(base).as_posix())
        except ValueError:
            raise DataError(f"line {line}: {written} lies outside the root {base}", path=path, remedy=remedy) from None
    if ".." in name.parts or name == PurePosixPath("."):
        raise DataError(f"line {line}: {written} leads out of the root {base}", path=path, remedy=remedy)
    return name.as_posix()
