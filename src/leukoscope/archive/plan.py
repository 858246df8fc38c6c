"""An archive in one folder: its pictures cut into parts, the bundle that answers, and a file of rows for each part.

    archive.json         what was planned, and with which bundle: written last, so that a half-made plan is none
    bundle/              a copy of the bundle
    parts/0000/0000012.jsonl     the pictures of part 12, one a line
    results/0000/0000012.jsonl   its rows, and a last line by which they are known to be whole

Nothing is held in memory but one part, whatever the number of pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from leukoscope._version import __version__
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import DataError, LeukoscopeError, PictureError
from leukoscope.files import atomic_folder, write_json
from leukoscope.inference.cells import ReadOptions

FACTS = "archive.json"
PARTS, RESULTS, BUNDLE = "parts", "results", "bundle"
FORMAT = 1
PART_SIZE = 2000  # cells on black: about seven seconds of one core
_BYTES = 100_000  # of a file that count as one more cell on black: a field of 1 MB takes as long as some ten cells

_AGAIN = "plan the archive again, into another folder"


class Planned(BaseModel):
    """What `archive.json` holds.

    Attributes:
        format: of the folder.
        software: version that planned it.
        base: the folder that relative paths of pictures start from.
        bundle: name of the bundle; `digest` is its SHA-256, see `Bundle.digest`.
        options: how pictures are read, as `ReadOptions` takes it.
        parts: how many.
        pictures: in all parts.
        size: bytes of all files.
        left_out: files of folders that hold no picture, by suffix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    software: str
    base: str
    bundle: str
    digest: str
    options: dict[str, Any]
    parts: int
    pictures: int
    size: int
    left_out: dict[str, int]


class Listed(NamedTuple):
    """A picture of the plan.

    Attributes:
        path: as it stands in its rows.
        item: the file, or why there is none.
        patient: whose it is, where the table says so.
        month: when it was taken, as `2026-01`, where the table says so.
    """

    path: str
    item: Path | PictureError
    patient: str | None = None
    month: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one part, known to be whole.

    Attributes:
        rows: how many.
        pictures: of the part.
        decisions: how many rows got each.
        seconds: that it took.
        size: bytes of the rows, without the last line of the file.
        months: sums over cells by month, as `archive.drift.MonthSums` writes them.
    """

    rows: int
    pictures: int
    decisions: dict[str, int]
    seconds: float
    size: int
    months: dict[str, dict[str, Any]]


_RESULT = TypeAdapter(Result)


@dataclass(frozen=True, slots=True)
class Archive:
    """A planned archive. Reads its folder anew at each call: other processes write into it."""

    folder: Path
    planned: Planned

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open what `plan` wrote.

        Raises:
            LeukoscopeError: the folder holds no plan, or one of another format.
        """
        path = Path(folder) / FACTS
        try:
            planned = Planned.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise LeukoscopeError(
                "holds no archive", path=folder, remedy="plan one with `leukoscope archive plan`"
            ) from None
        except OSError as error:
            raise LeukoscopeError(f"cannot be read ({error.strerror or error})", path=path) from error
        except ValidationError as error:
            raise LeukoscopeError("is damaged, or of another version", path=path, remedy=_AGAIN) from error
        if planned.format != FORMAT:
            raise LeukoscopeError(f"has format {planned.format}, not {FORMAT}", path=path, remedy=_AGAIN)
        try:
            ReadOptions(**planned.options)
        except (TypeError, ValueError) as error:
            raise LeukoscopeError(f"has options that are none ({error})", path=path, remedy=_AGAIN) from error
        return cls(Path(folder), planned)

    @property
    def options(self) -> ReadOptions:
        """How its pictures are read."""
        return ReadOptions(**self.planned.options)

    @property
    def bundle(self) -> Path:
        """The folder of its bundle."""
        return self.folder / BUNDLE

    def part(self, number: int) -> Path:
        """The file that lists the pictures of a part."""
        return _place(self.folder / PARTS, number)

    def rows(self, number: int) -> Path:
        """The file of the rows of a part."""
        return _place(self.folder / RESULTS, number)

    def pictures(self, number: int) -> list[tuple[str, Path | PictureError]]:
        """The pictures of a part: the path as it was given, and the file, or why there is none; see `listed`."""
        return [(each.path, each.item) for each in self.listed(number)]

    def listed(self, number: int) -> list[Listed]:
        """The pictures of a part, with whose they are and when they were taken.

        Raises:
            DataError: the list is missing or damaged.
        """
        found: list[Listed] = []
        try:
            with self.part(number).open("rb") as file:
                for line in file:
                    entry = json.loads(line)
                    path = entry["path"]
                    item: Path | PictureError = Path(self.planned.base) / path
                    if "error" in entry:
                        item = PictureError(entry["error"], path=path, remedy=entry["remedy"])
                    found.append(Listed(path, item, entry.get("patient"), entry.get("month")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError("is missing or damaged", path=self.part(number), remedy=_AGAIN) from error
        return found

    def result(self, number: int) -> Result | None:
        """The rows of a part if they are there and whole: every byte is checked; else None.

        Raises:
            LeukoscopeError: they are of another bundle.
        """
        path = self.rows(number)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        cut = content.rfind(b"\n", 0, -1) + 1  # where the last line begins
        try:
            last = json.loads(content[cut:])
            whole = last["sha256"] == hashlib.sha256(content[:cut]).hexdigest() and last["part"] == number
            told = {name: last[name] for name in ("rows", "pictures", "decisions", "seconds")}
            result = _RESULT.validate_python(told | {"size": cut, "months": last.get("months", {})})
            bundle = last["bundle"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not whole:
            return None
        if bundle != self.planned.digest:
            raise LeukoscopeError(
                "holds rows of another bundle than the archive's", path=path,
                remedy="remove the file, and run the archive again",
            )  # fmt: skip
        return result

    def missing(self) -> list[int]:
        """The parts without whole rows, in order."""
        return [number for number in range(self.planned.parts) if self.result(number) is None]


def plan(
    pictures: Iterable[Listed | tuple[str, Path | PictureError]],
    out: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str],
    options: ReadOptions | None = None,
    part_size: int = PART_SIZE,
    left_out: Counter[str] | None = None,
) -> Archive:
    """Cut pictures into parts, in their order; they are read one by one, and a part at a time is held.

    Args:
        pictures: the path of each as it shall stand in its rows, and the file, or why there is none; `Listed` says
            whose it is and of which month.
        out: the folder of the archive, which must be new or empty.
        bundle: the folder of the bundle that shall answer; it is copied.
        options: how pictures are read.
        part_size: how much goes into one part, counted in cells on black; a large file counts as several.
        left_out: files that hold no picture, counted while ``pictures`` is read.

    Raises:
        LeukoscopeError: the bundle is unusable, ``out`` is not empty or cannot be written.
    """
    checked = read_bundle(bundle)
    final = Path(out)
    if final.exists() and any(final.iterdir()):
        raise LeukoscopeError("holds other files", path=final, remedy="choose an empty --out folder")
    parts = total = size = 0
    with atomic_folder(final) as folder:
        shutil.copytree(checked.folder, folder / BUNDLE)
        (folder / RESULTS).mkdir()
        for lines, count, taken in _cut(pictures, part_size):
            path = _place(folder / PARTS, parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(lines))
            parts, total, size = parts + 1, total + count, size + taken
        planned = Planned(
            format=FORMAT, software=__version__, base=str(Path.cwd()), bundle=checked.facts.name,
            digest=checked.digest, options=asdict(options or ReadOptions()), parts=parts, pictures=total, size=size,
            left_out=dict(left_out or {}),
        )  # fmt: skip
        write_json(folder / FACTS, planned.model_dump())
    return Archive(final, planned)


def _cut(
    pictures: Iterable[Listed | tuple[str, Path | PictureError]], part_size: int
) -> Iterator[tuple[list[bytes], int, int]]:
    """The lines of each part, its pictures and the bytes of their files."""
    lines: list[bytes] = []
    cost, size = 0.0, 0
    for path, item, patient, month in (Listed(*each) for each in pictures):
        entry: dict[str, Any] = {"path": path}
        entry |= {name: value for name, value in (("patient", patient), ("month", month)) if value}
        if isinstance(item, PictureError):
            entry |= {"error": item.what, "remedy": item.remedy}
        else:
            taken = _size(item)
            size += taken
            cost += taken / _BYTES
        cost += 1
        lines.append(json.dumps(entry).encode("ascii") + b"\n")  # any path's bytes survive
        if cost >= part_size:
            yield lines, len(lines), size
            lines, cost, size = [], 0.0, 0
    if lines:
        yield lines, len(lines), size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number // 1000:04d}" / f"{number:07d}.jsonl"
