"""Which pictures a list of files and folders means."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path

from leukoscope.datasets.pictures import is_picture
from leukoscope.datasets.record import SYNTHETIC_NOTE
from leukoscope.errors import PictureError

_LITTER = frozenset({"Thumbs.db", "desktop.ini", SYNTHETIC_NOTE})  # of file managers, and our own


class PictureList(list[Path | PictureError]):
    """Pictures in their order, and what was left out of the folders.

    Attributes:
        left_out: files that hold no picture, by their suffix in lower case (`.csv`), and how many of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: Counter[str] = Counter()

    def left_out_words(self) -> str:
        """What was left out, in a line; empty where nothing was.

        >>> found = PictureList(); found.left_out.update([".csv", ".csv", ".pdf"]); found.left_out_words()
        'left out, as they hold no picture: 2 .csv, 1 .pdf'
        """
        return left_out_words(self.left_out)


def left_out_words(left_out: Counter[str]) -> str:
    """Files that hold no picture, by suffix, in a line; empty where there are none."""
    if not left_out:
        return ""
    told = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in left_out.most_common(5))
    rest = sum(left_out.values()) - sum(count for _, count in left_out.most_common(5))
    return f"left out, as they hold no picture: {told}" + (f", {rest:,} others" if rest else "")


def find_pictures(paths: Iterable[str | PathLike[str]]) -> PictureList:
    """List the pictures that the paths mean, each once, sorted within each path.

    A file named explicitly is always listed, whatever it is. A folder is walked to its depth, links included (each
    folder once, so that a loop of links ends); of its files those are listed that bear the suffix of a picture, or
    begin as pictures do, also of kinds that are not read: they must not be lost without a word. Other files are
    counted in `PictureList.left_out`; hidden ones and `Thumbs.db` are not.

    Returns:
        Paths; and a `PictureError` in the place of whatever should have been a picture and cannot be one: a missing
        file, a broken link, a folder that cannot be listed or that holds no picture.
    """
    found = PictureList()
    listed: set[str] = set()
    for item in each_picture(paths, found.left_out):
        name = fspath(item) if isinstance(item, Path) else str(item.path)
        if name not in listed:
            listed.add(name)
            found.append(item)
    return found


def each_picture(paths: Iterable[str | PathLike[str]], left_out: Counter[str]) -> Iterator[Path | PictureError]:
    """What `find_pictures` lists, one by one as the folders are walked; what two of the paths mean comes twice.

    Args:
        paths: files and folders.
        left_out: counts files that hold no picture, by suffix.
    """
    for given in paths:
        path = Path(given)
        if not _is(stat.S_ISDIR, path):
            yield _file(path)
            continue
        empty = True
        for item in _walk(path, set(), left_out):
            empty = False
            yield item
        if empty:
            yield PictureError("the folder holds no picture", path=path)


def _walk(folder: Path, seen: set[tuple[int, int]], left_out: Counter[str]) -> Iterator[Path | PictureError]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            told = sorted(entry.name for entry in entries)
            names = [name for name in told if not name.startswith(".") and name not in _LITTER]
    except OSError as error:
        reason = error.strerror or error
        yield PictureError(f"the folder cannot be listed ({reason})", path=folder, remedy="check its permissions")
        return
    for name in names:
        path = folder / name
        if _is(stat.S_ISDIR, path):
            yield from _walk(path, seen, left_out)
        elif is_picture(path) or (not path.suffix and _is_link(path) and not _is(stat.S_ISREG, path)):
            yield _file(path)
        elif _is(stat.S_ISREG, path):
            left_out[path.suffix.lower()] += 1


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
