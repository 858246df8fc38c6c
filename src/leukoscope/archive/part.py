"""One part of an archive: answered by one process, written in one step."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
from filelock import FileLock, Timeout

from leukoscope._version import __version__
from leukoscope.archive.drift import MonthSums, added, sums_of
from leukoscope.archive.plan import Archive
from leukoscope.errors import LeukoscopeError
from leukoscope.files import atomic_path
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.schemas import row_facts
from leukoscope.tables import json_line
from leukoscope.text import decodable

Outcome = Literal["done", "there", "busy"]


def run_part(folder: str, number: int) -> tuple[Outcome, int]:
    """Answer for the pictures of one part, unless its rows are there already or another process is at it.

    Args:
        folder: of the archive.
        number: of the part.

    Returns:
        What came of it, and the pictures of the part.

    Raises:
        LeukoscopeError: the archive or its bundle is damaged, or the disk is full.
    """
    archive = Archive.open(folder)
    there = archive.result(number)
    if there is not None:
        return "there", there.pictures
    target = archive.rows(number)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "busy", 0
    try:
        there = archive.result(number)  # another process may have ended it meanwhile
        if there is not None:
            return "there", there.pictures
        count = _write(archive, number)
        target.with_suffix(".lock").unlink(missing_ok=True)
    finally:
        lock.release()
    return "done", count


def _write(archive: Archive, number: int) -> int:
    classifier = _classifier(str(archive.bundle), archive.planned.digest)
    pictures = archive.listed(number)
    start, made = time.perf_counter(), row_facts(classifier.bundle)
    digest, rows, decisions, months = hashlib.sha256(), 0, Counter[str](), dict[str, MonthSums]()
    with atomic_path(archive.rows(number)) as temporary, temporary.open("wb") as file:
        answered = classifier.answers((each.item for each in pictures), archive.options)
        for each, answers in zip(pictures, answered, strict=True):
            for answer in answers:
                line = row_of(answer, each.path, made)
                digest.update(line)
                file.write(line)
                rows += 1
                decisions[answer.decision] += 1
                if each.month is not None and (sums := sums_of(answer)) is not None:
                    added(months, each.month, sums)
        last = {
            "part": number, "rows": rows, "pictures": len(pictures), "decisions": dict(sorted(decisions.items())),
            "sha256": digest.hexdigest(), "bundle": archive.planned.digest, "software": __version__,
            "seconds": round(time.perf_counter() - start, 3),
            "months": {month: sums.to_json() for month, sums in sorted(months.items())},
        }  # fmt: skip
        file.write(json.dumps(last).encode() + b"\n")
    return len(pictures)


def row_of(answer: Answer, path: str, made: Mapping[str, Any]) -> bytes:
    """The row of `predict --format jsonl` without its time, so that the same picture always gives the same bytes."""
    values: dict[str, Any] = answer.to_json() | {"path": decodable(path)} | dict(made)
    del values["ms"]
    return json_line(values).encode() + b"\n"


@lru_cache(maxsize=1)
def _classifier(bundle: str, digest: str) -> Classifier:
    """One for each process: a session is loaded once, not once a part."""
    cv2.setNumThreads(1)  # an engine starts as many processes as there are cores
    classifier = load(Path(bundle), threads=1)
    if classifier.bundle.digest != digest:
        raise LeukoscopeError(
            "is not the bundle that the archive was planned with", path=bundle,
            remedy="plan the archive again, into another folder",
        )  # fmt: skip
    return classifier
