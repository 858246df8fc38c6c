"""Statements of subjects as lines of text: an aligned table for people, CSV and JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence

from leukoscope.inference.rows import RowFormat
from leukoscope.inference.subjects import SubjectStatement, interval
from leukoscope.printing import printable

COLUMNS = (
    "subject", "statement", "reason", "pictures", "answered", "blast", "normal", "referred", "turned_down",
    "unreadable", "repeated", "share", "share_low", "share_high", "share_interval", "fields", "corrected",
    "corrected_low", "corrected_high", "strongest",
)  # fmt: skip
_WIDTHS = (16, 8, 8, 18, 18)


def subject_lines(kind: RowFormat, statements: Sequence[SubjectStatement]) -> Iterator[str]:
    """The lines of all statements, with a header where the kind has one.

    >>> list(subject_lines("table", []))
    ['statement         answered   refused  called blast        corrected           subject']
    """
    if kind == "jsonl":
        for each in statements:
            yield json.dumps(each.to_json(), ensure_ascii=False, allow_nan=False)
    elif kind == "csv":
        yield ",".join(COLUMNS)
        yield from map(_csv_row, statements)
    else:
        yield _aligned("statement", "answered", "refused", "called blast", "corrected", "subject")
        yield from map(_table_row, statements)


def _table_row(each: SubjectStatement) -> str:
    refused = each.turned_down + each.unreadable + each.repeated
    called = "-" if each.share is None else interval(each.share)
    corrected = "-" if each.corrected is None else interval(each.corrected)
    name = f"{printable(each.subject)}  ({printable(each.reason)})"
    return _aligned(each.statement, str(each.answered), str(refused), called, corrected, name)


def _aligned(*words: str) -> str:
    left, *numbers = words[:3]
    cells = [left.ljust(_WIDTHS[0]), *(n.rjust(w) for n, w in zip(numbers, _WIDTHS[1:3], strict=True))]
    cells += [word.ljust(w) for word, w in zip(words[3:5], _WIDTHS[3:], strict=True)]
    return "  ".join([*cells, words[5]])


def _csv_row(each: SubjectStatement) -> str:
    value = each.to_json()
    for name in ("share", "corrected"):
        ends = value.pop(name) or {}
        value |= {name: ends.get("value"), f"{name}_low": ends.get("low"), f"{name}_high": ends.get("high")}
        if name == "share":
            value |= {"fields": ends.get("fields"), "share_interval": ends.get("interval")}
    value["strongest"] = json.dumps([cell["path"] for cell in value["strongest"]], ensure_ascii=False)
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow("" if value[name] is None else value[name] for name in COLUMNS)
    return line.getvalue().removesuffix("\r\n")
