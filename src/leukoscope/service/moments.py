"""Times and identifiers: text that sorts in the order of time, in every database."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta


def utc_now() -> str:
    """The time now, UTC, with milliseconds: `2026-11-30T08:15:00.123Z`."""
    return utc_text(datetime.now(UTC))


def utc_after(seconds: float) -> str:
    """The time so many seconds from now; negative: before."""
    return utc_text(datetime.now(UTC) + timedelta(seconds=seconds))


def utc_text(at: datetime) -> str:
    """A time as text of fixed length.

    >>> utc_text(datetime(2026, 1, 2, 3, 4, 5, 678900, UTC))
    '2026-01-02T03:04:05.678Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, then 74 random bits.

    >>> one, other = new_id(), new_id()
    >>> len(one), one[14], one != other
    (36, '7', True)
    """
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
