"""Names of files as text that every terminal, stream and format accepts; numbers as they are written for people."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Final

RESEARCH_USE: Final = "Research use only: decision support, never a diagnosis."
UNDEFINED: Final = "undefined"  # the figure does not exist on these pictures
UNKNOWN: Final = "unknown"  # the figure exists, its interval cannot be estimated


def nearest_first(name: str, choices: Iterable[str]) -> list[str]:
    """All choices, those that a misspelt name may mean first.

    >>> nearest_first("papr", ["champion", "eye", "paper"])
    ['paper', 'champion', 'eye']
    """
    known = list(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return [*near, *(each for each in known if each not in near)]


def decodable(name: str) -> str:
    r"""The name with undecodable bytes shown as Python shows them; all else is kept.

    >>> decodable("caf\udce9 é.png")
    'caf\\udce9 é.png'
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    r"""The text on one line, control characters escaped: a file's name must not steer the terminal.

    >>> printable("a\n\x1b[31mé\udce9")
    'a\\n\\x1b[31mé\\udce9'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key in which numbers inside a name count as numbers.

    >>> sorted(["s10", "s2", "H3"], key=natural)
    ['H3', 's2', 's10']
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts))


def decimal(value: float) -> str:
    """Three decimals, or ``undefined``.

    >>> decimal(0.91449), decimal(float("nan"))
    ('0.914', 'undefined')
    """
    return UNDEFINED if math.isnan(value) else f"{value:.3f}"


def span(low: float, high: float) -> str:
    """The ends of an interval, or ``unknown``.

    >>> span(0.88, 0.9411), span(float("nan"), float("nan"))
    ('0.880 to 0.941', 'unknown')
    """
    return UNKNOWN if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def percentage(share: float) -> str:
    """A share of 1 in percent with one decimal.

    >>> percentage(0.9144)
    '91.4 %'
    """
    return UNDEFINED if math.isnan(share) else f"{100 * share:.1f} %"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "group"), counted(3120, "picture")
    ('1 group', '3,120 pictures')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
