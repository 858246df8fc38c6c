"""Which files of a folder are pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from leukoscope.cells.read import HEAD_BYTES, holds_picture
from leukoscope.errors import DataError

#: Of files that should be pictures, whatever is in them.
SUFFIXES: Final = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})


def is_picture(path: Path) -> bool:
    """Whether a file bears the suffix of a picture, or begins as one, also of a kind that is not read.

    So that none is lost without a word: under another suffix or without one, or as a GIF that must be saved anew.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if not path.is_file():  # opening a pipe would wait
            return False
        with path.open("rb") as file:
            return holds_picture(file.read(HEAD_BYTES))
    except OSError:
        return False


def list_folders(folder: Path) -> list[Path]:
    """The folders directly under ``folder``, sorted, hidden ones left out."""
    return sorted(
        entry for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )


def list_pictures(folder: Path, *, deep: bool = False) -> list[Path]:
    """The pictures of a folder as `is_picture` knows them, sorted; with ``deep`` those of its subfolders too.

    Hidden files and folders are left out. A link that leads back to a folder above it is not followed: its pictures
    stand there already.

    Raises:
        DataError: the folder cannot be read.
    """
    found = [
        entry for entry in _entries(folder) if not entry.name.startswith(".") and entry.is_file() and is_picture(entry)
    ]
    if deep:
        for inner in list_folders(folder):
            if not leads_back(inner):
                found += list_pictures(inner, deep=True)
    return sorted(found)


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to itself or to a folder that it stands in."""
    home = folder.parent.resolve()
    return folder.is_symlink() and folder.resolve() in (home, *home.parents)


def refuse_collisions(paths: Iterable[str], root: Path) -> None:
    """Refuse paths that differ only in upper and lower case: on many disks they are one file.

    Raises:
        DataError: naming up to five of them.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        spellings[path.casefold()].append(path)
    clashes = [" and ".join(sorted(names)) for names in spellings.values() if len(names) > 1]
    if clashes:
        raise DataError(
            f"{len(clashes)} names differ only in upper and lower case: {shorten(clashes, 5)}",
            path=root,
            remedy="rename them so that no copy of the data can lose one",
        )


def shorten(names: Iterable[object], most: int = 10) -> str:
    """The first names as a list for a message, and how many more there are.

    >>> shorten("abcd", 2)
    'a, b and 2 more'
    """
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be read as a folder ({error.strerror or error})", path=folder) from error
