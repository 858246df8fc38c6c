"""Answers kept as they come, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from leukoscope._version import __version__
from leukoscope.bundle.read import Bundle
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.answer import Answer
from leukoscope.inference.cells import ReadOptions

FORMAT = 3

Stamp = list[int]


def stamp(path: Path) -> Stamp | None:
    """Size and time of change, by which a file is known again; None where it cannot be asked."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def settings_of(bundle: Bundle, options: ReadOptions) -> dict[str, Any]:
    """What decides the answer for a picture, as JSON-ready values: software, bundle, and how pictures are read."""
    return {"version": __version__, "form": FORMAT, "bundle": bundle.digest, **asdict(options)}


class Journal:
    """A file of lines, each the CRC-32 of some JSON, and that: the settings, then one for each picture answered.

    From the first line on that was cut short by the end of an earlier run, or altered, lines are dropped; a journal of
    other settings is begun anew.

    Args:
        path: the file.
        settings: from `settings_of`.

    Raises:
        LeukoscopeError: the file cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._place: dict[str, tuple[int, Stamp]] = {}  # path of a picture -> offset of its line, stamp of its file
        end = self._scan(settings)
        try:
            self._file: IO[bytes] = path.open("r+b" if end else "w+b")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._file.truncate(end)
            self._file.seek(end)
            if not end:
                self._line(settings)
        except OSError as error:
            self.close(done=False)
            raise self._unwritable(error) from error

    def holds(self, picture: Path | PictureError) -> bool:
        """Whether an earlier run answered for this very file."""
        known = self._place.get(str(picture)) if isinstance(picture, Path) else None
        return known is not None and isinstance(picture, Path) and stamp(picture) == known[1]

    def answers(self, picture: Path) -> list[Answer]:
        """The answers that `holds` spoke of, without their arrays.

        Raises:
            LeukoscopeError: they are none, though their checksum is right.
        """
        with self._path.open("rb") as file:
            file.seek(self._place[str(picture)][0])
            try:
                return [Answer.from_json(each, str(picture)) for each in _whole(file.readline())["answers"]]
            except (ValueError, TypeError, KeyError) as error:
                raise LeukoscopeError("is damaged", path=self._path, remedy="remove it, and begin anew") from error

    def write(self, picture: Path, before: Stamp | None, answers: Sequence[Answer]) -> None:
        """Add the answers for a picture whose file bore this stamp before it was read.

        Raises:
            LeukoscopeError: the disk is full.
        """
        if before is None:
            return
        try:
            values = [answer.to_json() for answer in answers]
            self._line({"picture": str(picture), "stamp": before, "answers": values})
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self, *, done: bool) -> None:
        """Close the file; a run that is done needs it no more."""
        try:
            self._file.close()
            if done:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            if done:  # else the error that ended the run is told
                raise self._unwritable(error) from error

    def _scan(self, settings: dict[str, Any]) -> int:
        """Read what is there; give the offset behind the last whole line, 0 where nothing can be taken over."""
        if not self._path.exists():
            return 0
        end = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    value = _whole(line)
                    if number == 0 and value != json.loads(json.dumps(settings)):
                        return 0
                    if number:
                        self._place[value["picture"]] = (end, value["stamp"])
                except (ValueError, TypeError, KeyError, RecursionError):
                    break
                end += len(line)
        return end

    def _line(self, value: dict[str, Any]) -> None:
        text = json.dumps(value, allow_nan=False).encode("ascii")  # any path's bytes survive
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()

    def _unwritable(self, error: OSError) -> LeukoscopeError:
        remedy = "free disk space or choose another folder"
        return LeukoscopeError(
            f"cannot be written ({error.strerror or os.strerror(error.errno or 0)})", path=self._path, remedy=remedy
        )


def _whole(line: bytes) -> Any:
    """What a line says.

    Raises:
        ValueError: it is not as it was written.
    """
    said, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or b"%08x" % zlib.crc32(text[:-1]) != said:
        raise ValueError("its checksum is another")
    return json.loads(text)
