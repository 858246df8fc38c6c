"""Cells of many kinds, a folder per kind: what a network can learn cells from before it learns blasts."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.pictures import list_folders, list_pictures, refuse_collisions
from leukoscope.datasets.record import Record
from leukoscope.errors import DataError

SOURCE: Final = "kinds"
FEWEST: Final = 20  # pictures of a kind


def read_kinds(path: str | PathLike[str], *, per_kind: int | None = None, seed: int = 0) -> Manifest:
    """Read `kind/picture`, whatever the kinds are called; no picture has a label or a subject.

    Args:
        path: the folder that holds a folder per kind.
        per_kind: at most so many pictures of each, drawn by ``seed``; None for all.
        seed: of the draw.

    Raises:
        DataError: fewer than two kinds, a kind with fewer than 20 pictures, or names that differ only in case.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError("is no folder", path=root, remedy="give a folder that holds a folder per kind of cell")
    kinds = {folder.name: list_pictures(folder, deep=True) for folder in list_folders(root)}
    kinds = {name: pictures for name, pictures in kinds.items() if pictures}
    few = {name: len(pictures) for name, pictures in kinds.items() if len(pictures) < FEWEST}
    if len(kinds) < 2 or few:
        found = f"{len(kinds)} kinds" if len(kinds) < 2 else f"{next(iter(few.values()))} pictures of {next(iter(few))}"
        raise DataError(
            f"{found} are too few to learn from",
            path=root,
            remedy=f"give at least two folders of at least {FEWEST} pictures each",
        )
    random = np.random.default_rng(seed)
    records = []
    for name in sorted(kinds):
        pictures = sorted(kinds[name])
        kept = np.sort(random.permutation(len(pictures))[:per_kind]).tolist()
        records += [
            Record(pictures[index].relative_to(root).as_posix(), None, None, None, None, SOURCE) for index in kept
        ]
    refuse_collisions((record.path for record in records), root)
    return Manifest(root, tuple(records), root.resolve().name)


def kind_of(record: Record) -> str:
    """The kind of a picture that `read_kinds` listed: the folder that it stands in.

    >>> kind_of(Record("monocyte/a.png", None, None, None, None, SOURCE))
    'monocyte'
    """
    return record.path.partition("/")[0]
