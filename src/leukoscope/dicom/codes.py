"""The words of our DICOM objects; what the standard has no code for bears a scheme of our own, with its meaning."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from leukoscope.errors import optional

SCHEME: Final = "99LEUKOSCOPE"
MAKER: Final = "Leukoscope"
RESEARCH: Final = "RESEARCH_USE"  # content label of each object
DECISIONS: Final = {
    "blast": "Called blast by the model",
    "normal": "Called normal by the model",
    "refer": "Referred to a reader by the model",
}
FIGURES: Final = {
    "answered": "Cells judged",
    "blast": "Cells called blast",
    "normal": "Cells called normal",
    "referred": "Cells referred in the band",
    "turned_down": "Cells referred without being judged",
    "cells": "White cells found",
    "pictures": "Pictures",
    "unreadable": "Pictures unreadable or without a cell",
    "share": "Share of judged cells called blast",
    "share_low": "Lower end of its 95 % interval",
    "share_high": "Upper end of its 95 % interval",
}
SHARES: Final = frozenset({"share", "share_low", "share_high"})
STATEMENTS: Final = {
    "blasts likely": "Blasts likely", "blasts not seen": "Blasts not seen", "refer": "Refer to a reader",
    "too few cells": "Too few cells", "withheld": "Statement withheld",
}  # fmt: skip


def own(value: str, meaning: str) -> Any:
    """A code of our own scheme."""
    return optional("pydicom.sr.coding", "DICOM", "dicom").Code(value[:16], SCHEME, meaning[:64])


def known(name: str) -> Any:
    """A code of the standard by scheme and keyword, such as `DCM.Probability`."""
    scheme, _, keyword = name.partition(".")
    codes = optional("pydicom.sr.codedict", "DICOM", "dicom").codes
    return getattr(getattr(codes, scheme), keyword)


def label_code(label: str, *, machine: bool) -> Any:
    """What a cell was called: by the model, or by a reader in the reader's own word."""
    return own(label, DECISIONS[label]) if machine else own(label, f"Called {label} by a reader")


def uid_of(*parts: str) -> str:
    """A unique identifier that the same parts always give: what is written twice replaces itself.

    >>> uid_of("a", "b") == uid_of("a", "b"), uid_of("a", "b") == uid_of("ab")
    (True, False)
    """
    digest = hashlib.sha256("\\0".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
