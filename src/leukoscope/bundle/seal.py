"""JSON with a checksum of all of it in itself: no bit of what decides, or of what a run goes on from, flips unnoticed.

It is the SHA-256 of the text in which the checksum's own 64 digits are zeros. That of `bundle.json` names the bundle
(`Bundle.digest`); text without one is of a bundle that was written before there were checksums, or by hand.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

SEAL: Final = "digest"
_BLANK: Final = "0" * 64


class AlteredError(ValueError):
    """The text is not the one that was written."""


def sealed(facts: dict[str, Any]) -> tuple[bytes, str]:
    """Facts as indented JSON with their checksum, and that.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps({**facts, SEAL: _BLANK}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    content = text.encode()
    told = hashlib.sha256(content).hexdigest()
    return content.replace(_line(_BLANK), _line(told)), told


def unsealed(content: bytes) -> tuple[Any, str | None]:
    """What JSON says, and its checksum, checked and taken out; None where it has none.

    Raises:
        ValueError: it is not JSON, is nested too deeply, names something twice, or has a number that is not finite.
        AlteredError: it is not what was written.
    """
    try:
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_not_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict) or SEAL not in value:
        return value, None
    told = value.pop(SEAL)
    if not isinstance(told, str) or content.count(_line(told)) != 1:
        raise AlteredError("its own checksum is none")
    if hashlib.sha256(content.replace(_line(told), _line(_BLANK))).hexdigest() != told:
        raise AlteredError("its SHA-256 is not the one in it")
    return value, told


def read_sealed(path: Path) -> dict[str, Any]:
    """What a file says that holds what `sealed` made.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written, or has no checksum.
    """
    value, seal = unsealed(path.read_bytes())
    if seal is None:
        raise ValueError("it has no checksum")
    return dict(value)


def _line(digest: str) -> bytes:
    return f'"{SEAL}": "{digest}"'.encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"it names {twice[:40]!r} twice")
    return found


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is no number")
