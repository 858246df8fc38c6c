"""Pictures by the SHA-256 of their bytes: the same bytes are kept once, and a file is there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from leukoscope.files import place
from leukoscope.service.problems import Problem

_SHA = re.compile(r"[0-9a-f]{64}")


class Store:
    """A folder of files named by their digests.

    Args:
        folder: made where it is missing.
        reserve: share of the disk that is left free.
    """

    def __init__(self, folder: Path, reserve: float) -> None:
        self.folder = folder
        self._reserve = reserve
        self.incoming = folder / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)
        for left in self.incoming.iterdir():  # of a server that was killed
            left.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a file of this digest is, or would be.

        Raises:
            Problem: it is no digest.
        """
        if not _SHA.fullmatch(sha256):
            raise Problem(422, "is not a SHA-256 in 64 lower-case hexadecimal digits")
        return self.folder / sha256[:2] / sha256[2:4] / sha256

    def temporary(self) -> Path:
        """A new empty file for what comes in."""
        handle, name = tempfile.mkstemp(dir=self.incoming)
        os.close(handle)
        return Path(name)

    def check_space(self, size: int) -> None:
        """Refuse what would fill the disk.

        Raises:
            Problem: it would.
        """
        found = shutil.disk_usage(self.folder)
        if found.free - size < self._reserve * found.total:
            raise Problem(507, "the disk is nearly full: nothing was stored", remedy="free disk space and try again")

    def keep(self, temporary: Path, sha256: str) -> None:
        """Give a file its final name, on the disk before this returns.

        Raises:
            Problem: the disk is full.
        """
        final = self.path(sha256)
        try:
            place(temporary, final)
        except OSError as error:
            raise disk_problem(error) from error

    def digests(self) -> Iterator[str]:
        """All files that are kept."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"):
            if _SHA.fullmatch(path.name):
                yield path.name

    def remove(self, sha256: str) -> None:
        """Delete a file, if it is there."""
        self.path(sha256).unlink(missing_ok=True)


def disk_problem(error: OSError) -> Problem:
    """A fault of the disk as a problem."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "the disk is full: nothing was stored", remedy="free disk space and try again")
    return Problem(503, f"the disk cannot be written ({error.strerror})", remedy="check the folder of the workbench")
