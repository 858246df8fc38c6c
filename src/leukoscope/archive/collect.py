"""From the parts to one file of rows, a part at a time, and to the state of an archive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leukoscope.archive.plan import Archive
from leukoscope.errors import LeukoscopeError, optional
from leukoscope.files import atomic_path
from leukoscope.inference.writers import CELL_COLUMNS, flat
from leukoscope.tables import csv_line

COLUMNS = tuple(name for name in CELL_COLUMNS if name != "ms")
FORMS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class State:
    """How far an archive is.

    Attributes:
        parts: planned.
        missing: numbers of the parts without whole rows.
        pictures: answered.
        rows: written.
        decisions: how many rows got each.
        seconds: of one core, over all parts that are there.
    """

    parts: int
    missing: tuple[int, ...]
    pictures: int
    rows: int
    decisions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "parts": self.parts,
            "missing": list(self.missing),
            "pictures": self.pictures,
            "rows": self.rows,
            "decisions": dict(sorted(self.decisions.items())),
            "seconds": round(self.seconds, 3),
        }


def state_of(archive: Archive) -> State:
    """Look at every part; each byte of its rows is checked.

    Raises:
        LeukoscopeError: a part holds rows of another bundle.
    """
    missing = []
    pictures = rows = 0
    decisions, seconds = Counter[str](), 0.0
    for number in range(archive.planned.parts):
        result = archive.result(number)
        if result is None:
            missing.append(number)
            continue
        pictures += result.pictures
        rows += result.rows
        decisions.update(result.decisions)
        seconds += result.seconds
    return State(archive.planned.parts, tuple(missing), pictures, rows, decisions, seconds)


def collect(archive: Archive, out: Path, *, partial: bool = False) -> State:
    """Write the rows of all parts into one file, in the order of the plan.

    Args:
        archive: a planned one.
        out: `*.jsonl`: as `predict --format jsonl` without the times; `*.csv`, `*.parquet`: a row for each cell.
        partial: also where parts are missing.

    Raises:
        LeukoscopeError: parts are missing or of another bundle, the suffix means no form, the package that writes
            Parquet is not installed, or the file cannot be written.
    """
    if out.suffix not in FORMS:
        raise LeukoscopeError(f"the suffix must be one of {', '.join(FORMS)}", path=out, remedy="give another --out")
    state = state_of(archive)
    if state.missing and not partial:
        raise LeukoscopeError(
            f"{len(state.missing)} of {state.parts} parts have no rows yet", path=archive.folder,
            remedy="run `leukoscope archive run` again, or collect with --partial",
        )  # fmt: skip
    missing = set(state.missing)
    writer = {".jsonl": _lines, ".csv": _csv, ".parquet": _parquet}[out.suffix]
    with atomic_path(out) as temporary, writer(temporary) as write:
        for number in range(archive.planned.parts):
            if number not in missing:
                rows = _rows(archive, number)
                try:
                    write(rows)
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise LeukoscopeError(
                        f"holds rows that are none ({error!r})", path=archive.rows(number),
                        remedy="remove the file, and run the archive again",
                    ) from error  # fmt: skip
    return state


def _rows(archive: Archive, number: int) -> bytes:
    """The rows of a part, checked once more, without the last line of its file."""
    result = archive.result(number)
    if result is None:
        raise LeukoscopeError("was changed meanwhile", path=archive.rows(number), remedy="run the archive again")
    return archive.rows(number).read_bytes()[: result.size]


Write = Callable[[bytes], None]


@contextmanager
def _lines(path: Path) -> Iterator[Write]:
    with path.open("wb") as file:
        yield lambda rows: (file.write(rows), None)[1]


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\r\n")

        def write(rows: bytes) -> None:
            for line in rows.splitlines():
                values = flat(json.loads(line))
                file.write(csv_line(values[name] for name in COLUMNS) + "\r\n")

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    pa = optional("pyarrow", "a .parquet file", "parquet")
    pq = optional("pyarrow.parquet", "a .parquet file", "parquet")
    numbers = dict.fromkeys(("probability", "logit", "um_per_px", "threshold"), pa.float64())
    kinds = numbers | dict.fromkeys(("cell", "x", "y", "width", "height"), pa.int32())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: bytes) -> None:
            values = [flat(json.loads(line)) for line in rows.splitlines()]
            writer.write_table(pa.Table.from_pylist([{name: v[name] for name in COLUMNS} for v in values], schema))

        yield write
