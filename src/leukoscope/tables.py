"""Tables as CSV files, which no spreadsheet may run as formulas, and JSON lines, which stay lines."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from leukoscope.errors import DataError

ROOT_MARK: Final = "# root:"
PART_MARK: Final = "# part:"
#: Other people's names of our columns; ours wins where both stand.
_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"picture": "path", "image": "path", "file": "path", "filename": "path", "patient": "subject", "class": "label"}
)
#: What a spreadsheet takes for a formula at the beginning of a cell, wide forms too, behind apostrophes of ours.
_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_BREAKS: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"})


def csv_line(values: Iterable[object], *, quote_words: bool = False) -> str:
    r"""One row of a CSV file, without its line break; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which `read_rows` takes off again;
    numbers stay as they are. Line breaks of both kinds within a text are quoted.

    Args:
        values: of the cells.
        quote_words: put all texts in quotes, not only those that need them.

    >>> csv_line(["=1+1", -0.5, None, "a,b", "'s"])
    '\'=1+1,-0.5,,"a,b",\'s'
    """
    line = io.StringIO(newline="")
    # A terminator of both characters makes the writer quote both within texts.
    writer = csv.writer(line, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC if quote_words else csv.QUOTE_MINIMAL)
    writer.writerow([_inert(value) for value in values])
    return line.getvalue().removesuffix("\r\n")


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]], *, quote_words: bool = False) -> str:
    r"""A whole CSV file with its header; see `csv_line`.

    >>> csv_text(("picture", "label"), [("a.png", 1)])
    'picture,label\na.png,1\n'
    """
    return "".join(csv_line(row, quote_words=quote_words) + "\n" for row in (columns, *rows))


def json_line(value: Any) -> str:
    r"""A value as JSON on one line, also for readers to whom U+0085, U+2028 and U+2029 end lines.

    Raises:
        ValueError: it holds NaN or infinity, which are not JSON.

    >>> json_line({"name": "é\u2028"})
    '{"name": "é\\u2028"}'
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_BREAKS)


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _unquoted(cell: str) -> str:
    """What `_inert` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


@dataclass(frozen=True, slots=True)
class Preamble:
    """The lines before the header of a CSV file.

    Attributes:
        root: what its `# root:` line says, or None.
        parts: name and resolved root of each `# part: NAME = FOLDER` line.
        lines: how many there are.
    """

    root: str | None
    parts: tuple[tuple[str, Path], ...]
    lines: int


def read_preamble(path: Path, text: str | None = None) -> Preamble:
    """What stands before the header of a CSV file.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        text: what is in it, if it was read already.

    Raises:
        DataError: the file cannot be read, or a `# part:` line names no folder, or a name twice.
    """
    root, parts, lines = None, dict[str, Path](), 0
    for line in io.StringIO(_text_of(path) if text is None else text):
        if line.startswith(ROOT_MARK) and root is None:
            root = line[len(ROOT_MARK) :].strip()
        elif line.startswith(PART_MARK):
            name, equals, folder = (piece.strip() for piece in line[len(PART_MARK) :].partition("="))
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
    return Preamble(root, tuple(parts.items()), lines)


def read_rows(
    path: Path, required: Sequence[str], *, exact: bool = False
) -> tuple[str | None, list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header, behind a preamble or not.

    Args:
        path: the file, UTF-8, with or without a byte order mark, or UTF-16 with one; cells may be separated by
            semicolons or tabs.
        required: columns that must be there.
        exact: the file is one of ours: cells keep their spaces and bytes that are no UTF-8, and quotes must be right.

    Returns:
        What the `# root:` line says, or None; and (line number, row) pairs with stripped, lower-case column names.

    Raises:
        DataError: the file cannot be read, has no header, lacks a column, or a row has too few or too many cells.
    """
    text = _text_of(path, exact=exact)
    preamble = read_preamble(path, text)
    skipped = preamble.lines
    text = text.split("\n", skipped)[-1] if skipped else text
    delimiter = "," if exact else _delimiter(text.partition("\n")[0])
    return preamble.root, list(_rows(io.StringIO(text, newline=""), path, required, delimiter, skipped, exact=exact))


def stream_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file in UTF-8 one by one, as `read_rows` gives them: for files too large to be held.

    Raises:
        DataError: as `read_rows`; the rows before the fault have been given then.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            yield from _rows(chain([first], file), path, required, _delimiter(first), 0, exact=False)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path, remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot be read as a CSV file in UTF-8 ({error})", path=path, remedy="save it as CSV in UTF-8"
        ) from error


def _rows(
    lines: Iterable[str], path: Path, required: Sequence[str], delimiter: str, skipped: int, *, exact: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below a header; ``skipped`` lines of the file stand above it."""
    reader = csv.reader(lines, delimiter=delimiter, strict=exact)
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
            plain = cells if exact else [cell.strip() for cell in cells]
            yield line, {name: _unquoted(cell) for name, cell in zip(header, plain, strict=True)}
    except csv.Error as error:
        raise DataError(f"line {reader.line_num + skipped}: not CSV ({error})", path=path) from error


def _text_of(path: Path, *, exact: bool = False) -> str:
    """The text of a table in UTF-8, or in UTF-16 with its mark; with ``exact``, also bytes that are neither.

    Raises:
        DataError: it cannot be read, or is something else than text; it says what.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path, remedy="check the path") from error
    if exact:
        return data.decode("utf-8-sig", "surrogateescape")
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
