"""A layer under all that writes: at the Nth write to a folder it kills the process, fails, or cuts the power.

Run as a script it is a process that has imported Leukoscope once and forks for every command that it reads as a JSON
line, `{"root": FOLDER, "mode": "count|kill|fail|cut", "at": N, "args": [...]}`; it answers with a line
`{"status": EXIT, "steps": COUNT, "told": OUTPUT}`. Steps are: opening a file to write, `fsync`, rename, exchange,
unlink, making and removing a folder, below ROOT.

With `cut`, two folders are left beside ROOT, as a disk may look after a power cut: `names` has all names, but of the
files only what was synced (what ext4 without its heuristics may leave); `synced` has only the names that were in a
folder when that was synced, too.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

KILLED = 137
_STEPS = {"os.rename": 0, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0, "os.link": 1, "os.symlink": 1}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Disk:
    """What of a folder would be there after a power cut: contents and names, by inode, as they were last synced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.folders: set[int] = set()
        self._kept: list[int] = []  # open, so that no inode is used again
        root.mkdir(parents=True, exist_ok=True)
        for folder, _, files in os.walk(root):
            self.sync(Path(folder))
            for name in files:
                self.sync(Path(folder, name))

    def sync(self, path: Path) -> None:
        """Take down what a file or folder holds now."""
        self._kept.append(os.open(path, os.O_RDONLY))
        inode = path.stat().st_ino
        if path.is_dir():
            self.folders.add(inode)
            self.names[inode] = {}
            for each in path.iterdir():
                self.names[inode][each.name] = each.lstat().st_ino
                if each.is_dir():
                    self._kept.append(os.open(each, os.O_RDONLY))
                    self.folders.add(each.stat().st_ino)
        else:
            self.content[inode] = path.read_bytes()

    def with_all_names(self, target: Path) -> None:
        """The names of now, the contents of the last sync."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for folder, _, files in os.walk(self.root):
            place = target / Path(folder).relative_to(self.root)
            place.mkdir(exist_ok=True)
            for name in files:
                (place / name).write_bytes(self.content.get(Path(folder, name).stat().st_ino, b""))

    def as_synced(self, target: Path) -> None:
        """Names and contents of the last sync."""
        shutil.rmtree(target, ignore_errors=True)
        self._rebuild(self.root.stat().st_ino, target)

    def _rebuild(self, inode: int, target: Path) -> None:
        if inode in self.folders:
            target.mkdir()
            for name, child in self.names.get(inode, {}).items():
                self._rebuild(child, target / name)
        else:
            target.write_bytes(self.content.get(inode, b""))


class Layer:
    """Counts the steps of this process below a folder, and strikes at one of them."""

    def __init__(self, root: Path, mode: str, at: int) -> None:
        self.root, self.mode, self.at, self.steps = root, mode, at, 0
        self.disk = Disk(root) if mode == "cut" else None
        self.on = False

    def install(self) -> None:
        """Watch all that this process does from now on."""
        from leukoscope import files  # noqa: PLC0415

        os.fsync = self._synced(os.fsync)
        files.exchange = self._exchanged(files.exchange)
        sys.addaudithook(self._heard)
        self.on = True

    def power_cut(self) -> None:
        """Leave the two folders."""
        self.on = False
        if self.disk is not None:
            self.disk.with_all_names(self.root.with_name("names"))
            self.disk.as_synced(self.root.with_name("synced"))

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & _WRITES:
                self._step(path)
        elif event in _STEPS:
            self._step(args[_STEPS[event]])

    def _step(self, path: Any) -> None:
        if not os.path.abspath(os.fsdecode(path)).startswith(str(self.root)):  # noqa: PTH100
            return
        self.steps += 1
        if self.steps != self.at:
            return
        if self.mode == "kill":
            os._exit(KILLED)
        if self.mode == "cut":
            self.power_cut()
            os._exit(KILLED)
        if self.mode == "fail":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))

    def _synced(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._step(path)
            real(descriptor)
            if self.on and self.disk is not None and path.is_relative_to(self.root):
                self.on = False
                self.disk.sync(path)
                self.on = True

        return fsync

    def _exchanged(self, real: Callable[[Path, Path], bool]) -> Callable[[Path, Path], bool]:
        def exchange(one: Path, other: Path) -> bool:
            self._step(other)
            return real(one, other)

        return exchange


def run(job: dict[str, Any], told: int, steps: int) -> int:
    """One command under the layer, in this process; its output goes to the file ``told``."""
    from leukoscope.cli import main  # noqa: PLC0415

    os.dup2(told, 1)
    os.dup2(told, 2)
    layer = Layer(Path(job["root"]), job["mode"], job["at"])
    layer.install()
    status: Any = 0
    try:
        main(job["args"])
    except SystemExit as end:
        status = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    layer.power_cut()
    os.write(steps, str(layer.steps).encode())
    return int(status)


def serve() -> None:
    """Fork for every line of standard input."""
    for heavy in ("matplotlib.pyplot", "scipy.special", "sklearn.metrics", "leukoscope.inference.batch"):
        import_module(heavy)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        told, steps = os.memfd_create("told"), os.memfd_create("steps")
        child = os.fork()
        if child == 0:
            status = 99
            try:
                status = run(json.loads(line), told, steps)
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        words, count = (os.pread(each, 1 << 20, 0).decode("utf-8", "replace") for each in (told, steps))
        answer = {"status": os.waitstatus_to_exitcode(ended), "steps": int(count or 0), "told": words}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        os.close(told)
        os.close(steps)


if __name__ == "__main__":
    serve()
