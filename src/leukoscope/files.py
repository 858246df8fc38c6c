"""Writing files so that nothing half-written is ever seen under a final name, after a power cut neither.

What is written lies beside its final name until it is whole and on the disk (`fsync`), then takes the name in one
step, and the folder that holds the name is put on the disk too. A folder that takes the place of another is exchanged
with it in one step where the system can (Linux, `renameat2`); elsewhere the old one steps aside first, and is put back
by `recover` if the process is killed between the two steps. What a killed process left is removed by the next one that
writes the same name: it knows it by its lock, which the system releases when a process ends.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leukoscope.errors import LeukoscopeError

_LONGEST = 200  # bytes of a name that fits, with what is added to it, into the 255 of a file system
_GENERATION, _GONE = ".generation", ".gone"
_LEFT = re.compile(r"[a-z0-9_]{8}\.(part|old)")  # what follows a name while something is made in its place
_PATIENCE = 5.0  # seconds that a reader waits for a writer between two renames, which take a millisecond
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})
_visited: dict[Path, list[str]] = {}  # by folder: what was left in it when this process first wrote a file there


def _unwritable(path: Path, error: OSError) -> LeukoscopeError:
    remedy = "free disk space or choose another folder"
    return LeukoscopeError(f"cannot be written ({error.strerror or error})", path=path, remedy=remedy)


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on failure removed.

    Args:
        path: whose folder is made if absent.
        mode: who may read and write it.

    Raises:
        LeukoscopeError: the folder cannot be written or the disk is full.
    """
    final = Path(path)
    temporary: Path | None = None
    lock: int | None = None
    try:
        _make_folder(final.parent)
        _sweep(final, _left_by_others(final))
        temporary, lock = _fresh(final, folder=False)
        yield temporary
        temporary.chmod(mode)
        place(temporary, final)
    except BrokenPipeError:  # of what the body tells meanwhile: no fault of the file's
        raise
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
        _release(lock)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, mode: int = 0o755) -> Iterator[Path]:
    """Yield a temporary folder; on success it takes the place of ``path`` whole, on failure it is removed.

    Args:
        path: whose parent is made if absent.
        mode: who may read and write it.

    Raises:
        LeukoscopeError: the folder cannot be written or the disk is full.
    """
    final = Path(path)
    temporary: Path | None = None
    lock: int | None = None
    try:
        if final.is_symlink() or not final.name:
            final = final.resolve()  # what the link leads to is replaced, and not the link
        if final.exists() and not final.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(final))
        _make_folder(final.parent)
        recover(final)
        _sweep(final, _leftovers(final))
        temporary, lock = _fresh(final, folder=True)
        yield temporary
        temporary.chmod(mode)
        for folder, _, names in os.walk(temporary, topdown=False):
            for name in names:
                _sync(Path(folder, name))
            _sync_folder(Path(folder))
        if not final.exists():
            temporary.rename(final)
        elif not exchange(temporary, final):
            retired = temporary.with_suffix(".old")
            final.rename(retired)
            temporary.rename(final)
            shutil.rmtree(retired)
        _sync_folder(final.parent)
    except BrokenPipeError:  # of what the body tells meanwhile: no fault of the file's
        raise
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        _release(lock)


@contextmanager
def together(folder: str | os.PathLike[str], *, gone: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder; on success its files take their places in ``folder`` as one generation.

    Other files in ``folder`` stay. If the process is killed while files move to their places, `settle` moves the rest:
    whoever reads more than one of them calls it first.

    Args:
        folder: made if absent.
        gone: names in it that belong to the generation before, where this one has none of them.

    Raises:
        LeukoscopeError: the folder cannot be written or the disk is full; then nothing has changed.
    """
    final = Path(folder)
    settle(final)
    try:
        with atomic_folder(final / _GENERATION) as temporary:
            yield temporary
            if older := [name for name in gone if not (temporary / name).exists()]:
                (temporary / _GONE).write_text(json.dumps(older))
    except LeukoscopeError as error:
        made = Path(error.path or "")
        if made == final / _GENERATION:
            raise LeukoscopeError(error.what, path=final, remedy=error.remedy) from error
        if made.parent.parent == final and made.parent.name.startswith(_mark(_GENERATION)):
            raise LeukoscopeError(error.what, path=final / made.name, remedy=error.remedy) from error
        raise
    settle(final)


def settle(folder: str | os.PathLike[str]) -> None:
    """Move the files of a generation to their places if the process that wrote it was killed meanwhile; see `together`.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    final = Path(folder)
    waiting = final / _GENERATION
    if not waiting.is_dir():
        return
    try:
        with suppress(FileNotFoundError):  # another process settles it just now
            for name in json.loads((waiting / _GONE).read_text()) if (waiting / _GONE).exists() else ():
                (final / name).unlink(missing_ok=True)
            (waiting / _GONE).unlink(missing_ok=True)
            for each in sorted(waiting.iterdir()):
                each.replace(final / each.name)
            _sync_folder(final)
            waiting.rmdir()
            _sync_folder(final)
    except OSError as error:
        raise _unwritable(final, error) from error


def unsettled(folder: str | os.PathLike[str]) -> bool:
    """Whether files of a generation wait in ``folder`` for `settle` to move them to their places."""
    return Path(folder, _GENERATION).exists()


def recover(path: str | os.PathLike[str]) -> None:
    """Put a folder back that stepped aside for another one, if the process that replaced it was killed meanwhile.

    To be called before a folder that `atomic_folder` writes is looked for. While a living process is between the two
    steps, it is waited for.

    Raises:
        OSError: the folder cannot be put back.
    """
    final, deadline = Path(path), time.monotonic() + _PATIENCE
    while not final.exists():
        retired = [final.with_name(name) for name in _leftovers(final) if name.endswith(".old")]
        if not retired:
            return
        if any(_is_held(old.with_suffix(".part")) for old in retired) and time.monotonic() < deadline:
            time.sleep(0.01)
            continue
        with suppress(FileNotFoundError):  # another process was quicker
            max(retired, key=lambda old: old.stat().st_mtime).rename(final)
        return


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of what they were making in the place of ``path``."""
    _sweep(Path(path), _leftovers(Path(path)))


def exchange(one: Path, other: Path) -> bool:
    """Exchange what two names stand for in one step; False where the system or the file system cannot.

    Raises:
        OSError: it can, but not these.
    """
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if function(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(swap)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))


def swap(one: Path, other: Path) -> None:
    """Exchange two folders beside each other, in one step where the system can; on the disk then.

    Raises:
        LeukoscopeError: they cannot be exchanged.
    """
    try:
        if not exchange(one, other):
            between = Path(tempfile.mkdtemp(prefix=_mark(other.name), dir=other.parent), other.name)
            other.rename(between)
            one.rename(other)
            between.rename(one)
            between.parent.rmdir()
        _sync_folder(other.parent)
    except OSError as error:
        raise _unwritable(other, error) from error


@contextmanager
def exclusive(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Be the only one to work in a folder, which is made if absent; this ends with the process, however that ends.

    Args:
        folder: to work in.
        what: another process does there, for the error: `trains into`.

    Raises:
        LeukoscopeError: another process works there, or the folder cannot be made.
    """
    place = Path(folder)
    made = not place.exists()
    try:
        _make_folder(place)
        lock = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        if _lock(lock) is False:
            raise LeukoscopeError(
                f"another process {what} this folder", path=place, remedy="wait for it to end, or choose another folder"
            )
        yield
    finally:
        _release(lock)
        if made:
            with suppress(OSError):  # not empty, which is the good case
                place.rmdir()


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` in one step, as seen from outside."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` in one step, as seen from outside."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_checked_json(path: str | os.PathLike[str], value: Any, files: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Write ``value`` as JSON with its SHA-256, and with those of files beside it, for `read_checked_json`."""
    digests = {Path(file).name: sha256_of(Path(file)) for file in files}
    text = json.dumps({"value": value, "files": digests}, ensure_ascii=False, allow_nan=False)
    write_json(path, {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def read_checked_json(path: str | os.PathLike[str]) -> Any:
    """What `write_checked_json` wrote; the files that it names are read and checked too.

    Raises:
        ValueError: it, or a file that it names, is not what was written.
        OSError: a file cannot be read.
    """
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or set(found) != {"text", "sha256"}:
        raise ValueError("it has no checksum")
    text = str(found["text"])
    if hashlib.sha256(text.encode()).hexdigest() != found["sha256"]:
        raise ValueError("its SHA-256 is another")
    checked = json.loads(text)
    for name, digest in checked["files"].items():
        if sha256_of(Path(path).with_name(name)) != digest:
            raise ValueError(f"the SHA-256 of {name} is another")
    return checked["value"]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(temporary: Path, final: Path) -> None:
    """Give a whole file its final name, in a folder that is made if absent: data, name and folder are on the disk then.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    _sync(temporary)
    _make_folder(final.parent)
    temporary.replace(final)
    _sync_folder(final.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on the disk before anything is put into it."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def _sync(path: Path) -> None:
    """Put what a file holds on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system knows such a thing."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in {*_UNSUPPORTED, errno.EACCES, errno.EBADF, errno.EISDIR}:
            raise


def _mark(name: str) -> str:
    """How the names of what is made in the place of ``name`` begin."""
    long = len(os.fsencode(name)) > _LONGEST
    return f".{name[:40]}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}." if long else f".{name}."


def _fresh(final: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Something new beside ``final``, and the lock on it."""
    while True:
        if folder:
            name = tempfile.mkdtemp(prefix=_mark(final.name), suffix=".part", dir=final.parent)
            descriptor = os.open(name, os.O_RDONLY) if sys.platform != "win32" else -1
        else:
            descriptor, name = tempfile.mkstemp(prefix=_mark(final.name), suffix=".part", dir=final.parent)
        if sys.platform == "win32":  # what is open cannot be renamed there
            if descriptor >= 0:
                os.close(descriptor)
            return Path(name), None
        if _lock(descriptor) is not False and _is_at(
            descriptor, name
        ):  # and not swept by another process before it was locked
            return Path(name), descriptor
        os.close(descriptor)


def _is_at(descriptor: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder: True, False where another process holds it, None where locks are not known."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _is_held(path: Path) -> bool:
    """Whether a living process is making this, or may be."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lock(descriptor) is not True
    finally:
        os.close(descriptor)


def _leftovers(final: Path) -> list[str]:
    """Names beside ``final`` of what was made in its place."""
    mark = _mark(final.name)
    try:
        names = os.listdir(final.parent)  # noqa: PTH208 - names are wanted
    except OSError:
        return []
    return [name for name in names if name.startswith(mark) and _LEFT.fullmatch(name, len(mark))]


def _left_by_others(final: Path) -> list[str]:
    """`_leftovers` as they were when this process first wrote into the folder: it is not listed for every file."""
    parent, mark = final.parent.resolve(), _mark(final.name)
    if parent not in _visited:
        _visited[parent] = [name for name in os.listdir(parent) if name[:1] == "." and _LEFT.search(name)]  # noqa: PTH208
    return [name for name in _visited[parent] if name.startswith(mark) and _LEFT.fullmatch(name, len(mark))]


def _sweep(final: Path, names: list[str]) -> None:
    """Remove what killed processes left of ``final``."""
    for left in map(final.with_name, names):
        if _is_held(left.with_suffix(".part")):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()
