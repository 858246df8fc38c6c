"""Rows of a CSV file as records, with errors that name the line."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Final

from leukoscope.datasets.record import LABEL_WORDS, Record, known_subject
from leukoscope.errors import DataError

COLUMNS: Final = ("path", "label", "subject", "group", "fold", "source", "field")
_ROOT_MARK: Final = "# root:"
_PART_MARK: Final = "# part:"
#: Other people's names of our columns; ours wins where both stand.
_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"picture": "path", "image": "path", "file": "path", "filename": "path", "patient": "subject", "class": "label"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """The lines before the header of a CSV file.

    Attributes:
        root: what its `# root:` line says, or None.
        parts: name and resolved root of each `# part: NAME = FOLDER` line.
        lines: how many there are.
    """

    root: str | None
    parts: tuple[tuple[str, Path], ...]
    lines: int


def write_rows(root: Path, records: tuple[Record, ...], path: Path, parts: tuple[tuple[str, Path], ...] = ()) -> str:
    """The text of a manifest that is to lie at ``path``.

    A manifest that does not lie in its own root starts with a line `# root: ...`, relative to the manifest's folder;
    one that is combined has a line `# part: NAME = ...` for each part.
    """
    text = io.StringIO()
    here = path.resolve().parent
    if here != root.resolve():
        text.write(f"{_ROOT_MARK} {_seen_from(here, root)}\n")
    for name, folder in parts:
        text.write(f"{_PART_MARK} {name} = {_seen_from(here, folder)}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        fold = "" if record.fold is None else str(record.fold)
        writer.writerow(
            (
                record.path,
                LABEL_WORDS[record.label],
                record.subject or "",
                record.group or "",
                fold,
                record.source,
                record.field or "",
            )
        )
    return text.getvalue()


def _seen_from(here: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(folder.resolve(), here)).as_posix()
    except ValueError:  # another drive of Windows: no relative path exists
        return folder.resolve().as_posix()


def read_head(path: Path, text: str | None = None) -> Head:
    """What stands before the header of a CSV file.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        text: what is in it, if it was read already.

    Raises:
        DataError: the file cannot be read, or a `# part:` line names no folder, or a name twice.
    """
    root, parts, lines = None, dict[str, Path](), 0
    for line in io.StringIO(_text_of(path) if text is None else text):
        if line.startswith(_ROOT_MARK) and root is None:
            root = line[len(_ROOT_MARK) :].strip()
        elif line.startswith(_PART_MARK):
            name, equals, folder = (piece.strip() for piece in line[len(_PART_MARK) :].partition("="))
            if not (name and equals and folder) or name in parts or "/" in name:
                raise DataError(
                    f"line {lines + 1}: not a part of a combined data set, or a name that stands twice",
                    path=path,
                    remedy="write '# part: NAME = FOLDER', or combine the sets anew",
                )
            parts[name] = (path.parent / folder).resolve()
        else:
            break
        lines += 1
    return Head(root, tuple(parts.items()), lines)


def _text_of(path: Path) -> str:
    """The text of a table in UTF-8, or in UTF-16 with its mark.

    Raises:
        DataError: it cannot be read, or is something else than text; it says what.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error
    if data.startswith(b"PK\x03\x04"):
        raise DataError(
            "is a ZIP archive or an Excel workbook, not a CSV file",
            path=path,
            remedy="unpack the archive and give its folder, or save the sheet as CSV",
        )
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot be read as a CSV file in UTF-8 ({error})", path=path, remedy="save it as CSV in UTF-8"
        ) from error
    if "\0" in text:
        raise DataError(
            "holds bytes of 0: it is no CSV file in UTF-8, perhaps one in UTF-16 without its mark",
            path=path,
            remedy="save it as CSV in UTF-8",
        )
    return text


def _delimiter(header: str) -> str:
    """What separates the cells of a header: a comma, or the semicolon or tab of other spreadsheets."""
    return max(",;\t", key=header.count)


def read_lines(path: Path, required: tuple[str, ...]) -> tuple[str | None, list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        required: columns that must be there.

    Returns:
        What the `# root:` line says, or None; and (line number, row) pairs with stripped, lower-case column names.

    Raises:
        DataError: the file cannot be read, has no header, lacks a column, or a row has too few or too many cells.
    """
    text = _text_of(path)
    head = read_head(path, text)
    root, skipped = head.root, head.lines
    text = text.split("\n", skipped)[-1] if skipped else text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]))
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        header = [name if (meant := _ALIASES.get(name, name)) in header else meant for name in header]
        absent = [name for name in required if name not in header]
        if absent:
            raise DataError(
                f"line {skipped + 1}: no column {', '.join(absent)}; its columns are {', '.join(header) or 'none'}",
                path=path,
                remedy=f"give the file a header with at least {','.join(required)}",
            )
        for cells in reader:
            line = reader.line_num + skipped
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(f"line {line}: {len(cells)} cells where the header names {len(header)}", path=path)
            rows.append((line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num + skipped}: not CSV ({error})", path=path) from error
    return root, rows


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
        ours: the table was written by `write_rows`, so that a subject named `NA` is one.

    Returns:
        The root and the records, in the order of the file.

    Raises:
        DataError: naming the file and the line of the first fault.
    """
    told, rows = read_lines(path, required)
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
        if fold and not (fold.isascii() and fold.isdigit()):
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
