"""Which pictures a list of files and folders means."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path

from leukoscope.errors import PictureError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def find_pictures(paths: Iterable[str | PathLike[str]]) -> list[Path | PictureError]:
    """List the pictures that the paths mean, each once, sorted within each path.

    A file named explicitly is always listed, whatever its suffix. A folder is walked to its depth, links included
    (each folder once, so that a loop of links ends); hidden names and other suffixes are left out.

    Returns:
        Paths; and a `PictureError` in the place of whatever should have been a picture and cannot be one: a missing
        file, a broken link, a folder that cannot be listed or that holds no picture.
    """
    found: dict[str, Path | PictureError] = {}
    for given in paths:
        path = Path(given)
        if _is(stat.S_ISDIR, path):
            items = list(_walk(path, set())) or [PictureError("the folder holds no picture", path=path)]
        else:
            items = [_file(path)]
        for item in items:
            found.setdefault(fspath(item) if isinstance(item, Path) else str(item.path), item)
    return list(found.values())


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path | PictureError]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        reason = error.strerror or error
        yield PictureError(f"the folder cannot be listed ({reason})", path=folder, remedy="check its permissions")
        return
    for name in names:
        path = folder / name
        if _is(stat.S_ISDIR, path):
            yield from _walk(path, seen)
        elif path.suffix.lower() in SUFFIXES or (not path.suffix and _is_link(path) and not _is(stat.S_ISREG, path)):
            yield _file(path)


def _file(path: Path) -> Path | PictureError:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _is_link(path):
            return PictureError("the link leads nowhere", path=path, remedy="repair or remove it")
        reason = getattr(error, "strerror", None) or error
        return PictureError(f"cannot be found ({reason})", path=path, remedy="check the path")
    if stat.S_ISREG(mode):
        return path
    return PictureError("is not a regular file", path=path, remedy="give a picture file or a folder")


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    """Whether the path leads to this kind; unlike `Path.is_dir`, a folder that may not be searched is no surprise."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
