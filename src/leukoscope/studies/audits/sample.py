"""The cells that an audit asks about: a sample of as many patient groups as there are, each picture read or told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import limit
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.progress import SILENT, Progress

Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class Sample(Generic[Taken]):
    """What was taken of each picture that could be read.

    Attributes:
        taken: one for each picture of ``part``, in its order.
        part: the pictures that could be read.
        unreadable: path and reason of the others.
    """

    taken: list[Taken]
    part: Manifest
    unreadable: tuple[tuple[str, str], ...]


def sample_cells(
    data: Manifest, take: Callable[[Path], Taken], *, count: int, seed: int = 0, progress: Progress = SILENT
) -> Sample[Taken]:
    """Take something of each picture of a sample.

    Args:
        data: labelled pictures.
        take: reads a picture and keeps what is wanted of it.
        count: how many pictures at most.
        seed: of the sample.
        progress: shows how many are read.

    Raises:
        DataError: no picture can be read.
    """
    chosen = limit(data, count, seed)
    taken: list[Taken] = []
    kept: list[int] = []
    lost: list[tuple[str, str]] = []
    with progress.stage("reading cells", len(chosen)) as advance:
        for index, path in enumerate(chosen.paths()):
            try:
                taken.append(take(path))
                kept.append(index)
            except LeukoscopeError as error:
                lost.append((str(path), error.what))
            advance(1)
    if not kept:
        raise DataError("none of the pictures can be read", path=data.root, remedy="check the folder")
    return Sample(taken, chosen.select(kept), tuple(lost))
