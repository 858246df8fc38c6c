"""Answers kept as they come: a run that was stopped, or whose folder of pictures has grown, goes on from there."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from leukoscope._version import __version__
from leukoscope.bundle.read import Bundle
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.files import place, write_text
from leukoscope.inference.answer import Answer
from leukoscope.inference.cells import ReadOptions
from leukoscope.text import printable

FORMAT = 4

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


def claim(out: Path, name: str, settings: dict[str, Any], *, what: str = "other settings") -> None:
    """Write the settings of a run into its folder, or check that those there are the same.

    Args:
        out: the folder: new, empty but for hidden files, or that of an earlier run.
        name: of the file of settings.
        settings: JSON-ready values.
        what: the results of which it would hold where they are not the same.

    Raises:
        LeukoscopeError: the folder holds results of other settings or other files, or its settings cannot be read.
    """
    path = out / name
    if not path.exists():
        if out.exists() and any(not item.name.startswith(".") for item in out.iterdir()):
            raise LeukoscopeError("holds other files", path=out, remedy="choose an empty --out folder")
        write_text(path, json.dumps(settings, indent=2) + "\n")  # ASCII: a path's bytes survive
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        told = error.strerror or error if isinstance(error, OSError) else "it is not the JSON that was written"
        raise LeukoscopeError(
            f"the settings of its results cannot be read ({told})", path=path, remedy="choose another --out folder"
        ) from error
    if found != json.loads(json.dumps(settings)):
        raise LeukoscopeError(
            f"holds results of {what} or of another version", path=out, remedy="choose another --out folder"
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """How pictures that are to be answered differ from those that an earlier run answered.

    Attributes:
        same: how many are as they were.
        new: how many are not among those.
        changed: those whose file is another now.
        gone: those of the earlier run whose file is there no more.
        others: those of the earlier run that are there, but not to be answered now.
    """

    same: int
    new: int
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    others: tuple[str, ...]

    def words(self) -> str:
        """What is gone on with, in one line; empty where nothing has changed."""
        if not (self.new or self.changed or self.gone):
            return ""
        known = self.same + len(self.changed)
        told = [f"{known} of {known + self.new} pictures were answered before"]
        if self.changed:
            told.append(f"changed since, so read again: {_some(self.changed)}")
        if self.gone:
            told.append(f"there no more, so left out: {_some(self.gone)}")
        return "; ".join(told)


class Kept:
    """A file of lines, each the CRC-32 of some JSON, and that: the settings, then one for each picture answered.

    From the first line on that was cut short by the end of a run, or altered, lines count as absent; of other settings,
    all.

    Args:
        path: the file, which need not be there.
        settings: from `settings_of`.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._place: dict[str, tuple[int, Stamp]] = {}  # path of a picture -> offset of its line, stamp of its file
        self._end = self._scan(settings)

    def growth(self, pictures: Sequence[Path | PictureError]) -> Growth:
        """How ``pictures`` differ from those that are held."""
        given = {str(each.path) if isinstance(each, PictureError) else str(each) for each in pictures}
        absent = [name for name in self._place if name not in given]
        changed = [name for name, (_, was) in self._place.items() if name in given and stamp(Path(name)) != was]
        known = len(self._place) - len(absent)
        there = {name: stamp(Path(name)) is not None for name in absent}
        gone, others = (tuple(name for name in absent if there[name] is wanted) for wanted in (False, True))
        return Growth(known - len(changed), len(given) - known, tuple(changed), gone, others)

    def holds(self, picture: Path | PictureError) -> bool:
        """Whether an earlier run answered for this very file."""
        known = self._place.get(str(picture)) if isinstance(picture, Path) else None
        return known is not None and isinstance(picture, Path) and stamp(picture) == known[1]

    def stamp(self, picture: Path) -> Stamp:
        """That of the file whose answers `holds` spoke of."""
        return self._place[str(picture)][1]

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


class Journal(Kept):
    """What is kept while it is answered; of other settings it is begun anew.

    Raises:
        LeukoscopeError: the file cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        super().__init__(path, settings)
        try:
            self._file: IO[bytes] = path.open("r+b" if self._end else "w+b")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            if not self._end:
                self._line(settings)
        except OSError as error:
            self.close()
            raise self._unwritable(error) from error

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

    def close(self, final: Path | None = None) -> None:
        """Close the file; that of a run that is done gets its ``final`` name."""
        try:
            self._file.close()
            if final is not None:
                place(self._path, final)
        except OSError as error:
            if final is not None:  # else the error that ended the run is told
                raise self._unwritable(error) from error

    def _line(self, value: dict[str, Any]) -> None:
        text = json.dumps(value, allow_nan=False).encode("ascii")  # any path's bytes survive
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()

    def _unwritable(self, error: OSError) -> LeukoscopeError:
        remedy = "free disk space or choose another folder"
        return LeukoscopeError(
            f"cannot be written ({error.strerror or os.strerror(error.errno or 0)})", path=self._path, remedy=remedy
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(printable(Path(name).name) for name in names[:3])}{more}"


def _whole(line: bytes) -> Any:
    """What a line says.

    Raises:
        ValueError: it is not as it was written.
    """
    said, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or b"%08x" % zlib.crc32(text[:-1]) != said:
        raise ValueError("its checksum is another")
    return json.loads(text)
