"""Names of files as text that every terminal, stream and format accepts."""

from __future__ import annotations

import re


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
