"""A folder of answered fields: for each its JSON, drawings and contours; over all, tables, patients and the page."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from leukoscope.bundle.patients import subject_claim
from leukoscope.bundle.schema import BundleFacts
from leukoscope.bundle.seal import read_sealed, sealed
from leukoscope.errors import PictureError
from leukoscope.files import write_bytes
from leukoscope.inference.answer import HONEST, Answer, Answers
from leukoscope.inference.cells import Cell, Place
from leukoscope.inference.gallery import PAGE, safe_stem, write_page
from leukoscope.inference.journal import Stamp, claim, stamp
from leukoscope.inference.order import places
from leukoscope.inference.overlay import encode, numbered, outlined, reduced, thumbnail
from leukoscope.inference.owners import Owners
from leukoscope.inference.patients import PatientTally
from leukoscope.inference.writers import Record, write_coco, write_csv, write_geojson
from leukoscope.smears.faults import doubts
from leukoscope.text import decodable
from leukoscope.threads import outcome

SETTINGS = "leukoscope-fields.json"
FIELDS, OVERLAYS, CELLS, GEOJSON = "fields", "overlays", "cells", "geojson"


class FieldFolder:
    """Takes the answers for fields, and writes what belongs to each; what is written of one appears whole, JSON last.

    Args:
        out: the folder; that of an earlier run with the same settings, or one without results.
        settings: from `leukoscope.inference.journal.settings_of`.
        stated: from `leukoscope.inference.schemas.row_facts`: how what is written came about.
        pictures: all that are to be answered.
        threads: how many write.

    Raises:
        LeukoscopeError: ``out`` holds results of other settings, or cannot be written.
    """

    def __init__(
        self,
        out: Path,
        settings: dict[str, Any],
        stated: dict[str, Any],
        pictures: Sequence[Path | PictureError],
        *,
        threads: int,
    ) -> None:
        self._out = out
        self._stated = stated
        self._pictures = pictures
        self._stems = {_name(item): _stem(_name(item)) for item in pictures}
        self._stamps: dict[str, Stamp | None] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="leukoscope-write")
        self._flight: deque[Future[None]] = deque()
        self._most = 2 * threads
        self.unread = 0  # fields that could not be read, once `finish` is through
        claim(out, SETTINGS, settings)

    def holds(self, picture: Path | PictureError) -> bool:
        """Whether an earlier run wrote the answers for this very file."""
        name = _name(picture)
        now = stamp(picture) if isinstance(picture, Path) else None
        self._stamps[name] = now
        record = self._record(name)
        return record is not None and now is not None and record.get("file") == now

    def add(self, answers: Answers) -> None:
        """Write what belongs to one field, while others are read."""
        name = answers.reading.path or ""
        self._flight.append(self._pool.submit(self._write, answers, self._stems[name], self._stamps.get(name)))
        while len(self._flight) > self._most:
            outcome(self._flight.popleft(), self._pool)

    def finish(self, facts: BundleFacts, owners: Owners | None) -> Iterator[Answer]:
        """Write what belongs to all fields; yield the answers for all, without their arrays."""
        while self._flight:
            outcome(self._flight.popleft(), self._pool)
        order = places(cell["logit"] for record in self._records() for cell in record["cells"])
        write_csv(self._out / "cells.csv", self._records(), order)
        write_coco(self._out / "cells.coco.json", self._records)
        tally = None if owners is None else PatientTally(facts, owners)
        doubted: list[tuple[str, str]] = []
        counts = Counter(blast=0, normal=0, refer=0, unreadable=0, pictures=len(self._stems))
        for name in self._stems:
            record = self._record(name)
            doubted += [(name, text) for text in doubts(() if record is None else record.get("warnings", ()))]
            self.unread += record is None or record["error"] is not None
            for answer in _answers(record, name):
                counts[answer.decision] += 1
                if tally is not None:
                    tally.add(answer)
                yield answer
        statements = None
        if tally is not None:
            statements = [each.to_json() for each in tally.statements()]
            claim = {"statement": HONEST, "rule": subject_claim(facts), "named_by": tally.owners.how}
            stated = self._stated | claim | {"patients": statements}
            write_bytes(self._out / "patients.json", sealed(stated)[0])
        stems = list(self._stems.values())
        shown = (self._record(name) for name in self._stems)
        write_page(self._out / PAGE, shown, stems, statements, doubted, order, counts)

    def close(self) -> None:
        """End the threads that write."""
        self._pool.shutdown(cancel_futures=True)

    def _write(self, answers: Answers, stem: str, before: Stamp | None) -> None:
        out, error = self._out, answers.reading.error
        if error is not None:
            why = "; ".join(part for part in (error.what, error.remedy) if part)
            path = decodable(answers.reading.path or "")
            record = self._stated | {"path": path, "statement": HONEST, "cells": [], "error": why, "file": before}
            write_bytes(out / FIELDS / f"{stem}.json", sealed(record)[0])
            return
        record = self._stated | answers.to_json() | {"file": before}
        drawn, name = outlined(answers), out / OVERLAYS / stem
        write_bytes(name.with_suffix(".webp"), encode(drawn, Path("a.webp")))  # the page writes its own numbers on it
        write_bytes(name.with_suffix(".png"), encode(numbered(drawn, answers), Path("a.png")))
        for number, answer in enumerate(answers.cells, 1):
            name = out / CELLS / f"{stem}-{number:03d}.webp"
            write_bytes(name, encode(thumbnail(answers.reading, answer.cell), name))
            if answer.frame is not None:
                name = out / CELLS / f"{stem}-{number:03d}-asked.webp"
                write_bytes(name, encode(reduced(answer.frame), name))
        write_geojson(out / GEOJSON / f"{stem}.geojson", record)
        write_bytes(out / FIELDS / f"{stem}.json", sealed(record)[0])

    def _records(self) -> Iterator[Record]:
        for name in self._stems:
            record = self._record(name)
            if record is not None and record["error"] is None:
                yield record

    def _record(self, name: str) -> Record | None:
        return read_record(self._out / FIELDS / f"{self._stems[name]}.json")


def read_record(path: Path) -> Record | None:
    """What was written of a field, or of patients; None where it is not there, or no longer what was written."""
    try:
        return read_sealed(path)
    except (OSError, ValueError):
        return None


def _stem(path: str) -> str:
    """The same name for the same picture in every run, whatever else is given."""
    digest = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:10]  # noqa: PTH100  (links stay links)
    return f"{safe_stem(0, path).removeprefix('00000').lstrip('-') or 'field'}-{digest}"


def _name(item: Path | PictureError) -> str:
    return str(item.path) if isinstance(item, PictureError) else str(item)


def _answers(record: Record | None, path: str) -> Iterator[Answer]:
    """The answers for a field that was written down: one for each white cell."""
    if record is None or record["error"] is not None or not record["cells"]:
        none = "; ".join(("no white cell was found", *(record or {}).get("warnings", ())))
        why = "not read" if record is None else record["error"] or none
        yield Answer(path, None, None, None, "unreadable", "", 0.0, error=why)
        return
    ruler, warnings = record["ruler"], tuple(record["warnings"])
    for cell in record["cells"]:
        place = None
        if record["kind"] != "framed":
            place = Place(cell["number"], tuple(cell["box"]), record["kind"], ruler["um_per_px"], warnings)
        yield Answer(
            path, record["sha256"], cell["probability"], cell["logit"], cell["decision"], record["model"], 0.0,
            reason=cell["reason"], gate=cell["gate"] or "not checked", cell=Cell(place=place),
        )  # fmt: skip
