"""A layer under all that writes: it takes down the disk at each write to a folder, or lets writes fail.

Run as a script it is a process that has imported Leukoscope once, says `ready` and forks for every command that it
reads as a JSON line, `{"root": FOLDER, "mode": MODE, "at": N, "args": [...], "seconds": S}`; it answers with a line
`{"status": EXIT, "steps": [...], "sites": [...], "told": OUTPUT}`. A command that takes longer than S seconds by the
clock is ended; its status is then `HUNG`, and it is told where each of its threads stood. Steps are: opening a file to
write, `fsync`, rename, exchange, unlink, making and removing a folder, below ROOT. The site of a step is the kind of
file, and the lines of our own code that led there. Modes:

- `count` disturbs nothing.
- `watch` takes down, before each step and at the end, the disk as it would be if the process were killed there, or the
  power cut, in `states` beside ROOT; one that was there before, but for names drawn at random, is not kept again.
- `kill` ends the process at step N.
- `fail`: step N finds no space. `full`: so do all after it that take some.
- `short`: no file can grow beyond N bytes, so that what is written natively is stopped too.
- `nomemory`: from the Nth on, a hundred allocations by Python give none.

After a power cut two disks are possible: `names` has all names, but of the files only what was synced (what ext4
without its heuristics may leave); `synced` has only the names that were in a folder when that was synced, too.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import fcntl
import gc
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

KILLED = 137
HUNG = -1000
_LATE = "Timeout ("  # how `faulthandler` begins
TAKES_NONE = {"os.remove", "os.rmdir"}
_STEPS = {"os.rename": 0, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0, "os.link": 1, "os.symlink": 1}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DRAWN = re.compile(r"[a-z0-9_]{8}(?=\.(part|old)\b)|(?<=cells-)\w{6,}|(?<=overlays-)\w{6,}")

_NUMBERS = re.compile(r"[0-9]+|\b[0-9a-f]{16,}\b")
_OURS = f"{os.sep}leukoscope{os.sep}"

#: What a folder holds: by name, the bytes of a file, or None for a folder.
Tree = dict[str, bytes | None]


class Disk:
    """What of a folder would be there after a power cut: contents and names, by inode, as they were last synced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.folders: set[int] = set()
        self._kept: list[int] = []  # open, so that no inode is used again
        self._read: dict[tuple[int, int, int], bytes] = {}
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

    def now(self) -> Tree:
        """As it is: what a killed process leaves."""
        return self._walked(self._bytes)

    def with_all_names(self) -> Tree:
        """The names of now, the contents of the last sync."""
        return self._walked(lambda path: self.content.get(path.stat().st_ino, b""))

    def as_synced(self) -> Tree:
        """Names and contents of the last sync."""
        found: Tree = {}

        def below(inode: int, name: str) -> None:
            if inode not in self.folders:
                found[name] = self.content.get(inode, b"")
                return
            found[name] = None
            for each, child in self.names.get(inode, {}).items():
                below(child, f"{name}/{each}".lstrip("/"))

        below(self.root.stat().st_ino, "")
        return found

    def _walked(self, read: Callable[[Path], bytes]) -> Tree:
        found: Tree = {}
        for folder, _, files in os.walk(self.root):
            place = Path(folder).relative_to(self.root)
            found["" if place == Path() else place.as_posix()] = None
            for name in files:
                found[(place / name).as_posix()] = read(Path(folder, name))
        return found

    def _bytes(self, path: Path) -> bytes:
        told = path.stat()
        key = (told.st_ino, told.st_mtime_ns, told.st_size)
        if key not in self._read:
            self._read[key] = path.read_bytes()
        return self._read[key]


def put(tree: Tree, target: Path) -> None:
    """Write a tree into a new folder."""
    for name, data in tree.items():
        if data is None:
            (target / name).mkdir(parents=True, exist_ok=True)
    for name, data in tree.items():
        if data is not None:
            (target / name).write_bytes(data)


class Layer:
    """Hears the steps of this process below a folder, and takes down the disk or strikes."""

    def __init__(self, root: Path, mode: str, at: int) -> None:
        self.root, self.mode, self.at = root, mode, at
        self.steps: list[str] = []
        self.sites: list[str] = []
        self.disk = Disk(root) if mode == "watch" else None
        self.on = False
        self._states = root.with_name("states")
        self._known: set[str] = set()
        self._digests: dict[int, tuple[bytes, bytes]] = {}
        shutil.rmtree(self._states, ignore_errors=True)

    def install(self) -> None:
        """Watch all that this process does from now on."""
        from leukoscope import files  # noqa: PLC0415

        os.fsync = self._synced(os.fsync)
        files.exchange = self._exchanged(files.exchange)
        sys.addaudithook(self._heard)
        self.on = True

    def take_down(self) -> None:
        """Keep the disk as it may look if the process ends here."""
        if self.disk is None:
            return
        self.on = False
        trees = {"kill": self.disk.now(), "names": self.disk.with_all_names(), "synced": self.disk.as_synced()}
        for way, tree in trees.items():
            parts = sorted((DRAWN.sub("*", name), self._digest(data or b"")) for name, data in tree.items())
            known = hashlib.sha256(repr(parts).encode()).hexdigest()
            if known not in self._known:
                self._known.add(known)
                put(tree, self._states / f"{len(self.steps):04d}-{way}")
        self.on = True

    def _digest(self, data: bytes) -> bytes:
        """Each content is looked through once, however many disks have it."""
        known = self._digests.get(id(data))
        if known is None or known[0] is not data:
            known = self._digests[id(data)] = data, hashlib.sha256(data).digest()
        return known[1]

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & _WRITES:
                self._step(event, path)
        elif event in _STEPS:
            self._step(event, args[_STEPS[event]])

    def _step(self, what: str, path: Any) -> None:
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if not place.startswith(str(self.root)):
            return
        self.take_down()
        self.steps.append(f"{what} {place[len(str(self.root)) + 1 :]}")
        self.sites.append(f"{_NUMBERS.sub('#', DRAWN.sub('*', self.steps[-1]))} {_way()}")
        struck = len(self.steps) == self.at
        if self.mode == "kill" and struck:
            os._exit(KILLED)
        all_after = self.mode == "full" and len(self.steps) >= self.at and what not in TAKES_NONE
        if all_after or (self.mode == "fail" and struck):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)

    def _synced(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if not path.is_relative_to(self.root):
                real(descriptor)
                return
            self._step("fsync", path)  # the disk itself need not hear it: what it would have then is kept here
            if self.on and self.disk is not None:
                self.on = False
                self.disk.sync(path)
                self.on = True

        return fsync

    def _exchanged(self, real: Callable[[Path, Path], bool]) -> Callable[[Path, Path], bool]:
        def exchange(one: Path, other: Path) -> bool:
            self._step("exchange", other)
            return real(one, other)

        return exchange


def _way() -> str:
    """The lines of our own code that led here."""
    frame, lines = sys._getframe(1), []
    while frame is not None:
        name = frame.f_code.co_filename
        if _OURS in name:
            lines.append(f"{name.rpartition(_OURS)[2]}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return hashlib.sha256(" ".join(lines).encode()).hexdigest()[:12]


def end_with_parent() -> None:
    """Be killed as soon as the process that started this one ends, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(job: dict[str, Any], told: int, steps: int) -> int:
    """One command under the layer, in this process; its output goes to the file ``told``."""
    from remembered import forget  # noqa: PLC0415 - beside this script

    from leukoscope.cli import main  # noqa: PLC0415

    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(told, number)
        setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    os.setpgid(0, 0)
    end_with_parent()
    faulthandler.dump_traceback_later(job["seconds"], exit=True, file=told)
    if job["mode"] == "nomemory":
        forget()
    for name, value in job["patches"].items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    layer = Layer(Path(job["root"]), job["mode"], job["at"])
    layer.install()
    if job["mode"] == "short":
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["at"], resource.RLIM_INFINITY))
    if job["mode"] == "nomemory":
        import _testcapi  # noqa: PLC0415

        _testcapi.set_nomemory(job["at"], job["at"] + 100)
    status: Any = 0
    try:
        main(job["args"])
    except SystemExit as end:
        status = end.code or 0
    if job["mode"] == "short":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sys.stdout.flush()
    sys.stderr.flush()
    layer.take_down()
    os.write(steps, json.dumps([layer.steps, layer.sites]).encode())
    return int(status)


class _Pool:
    """Does at once, in this process, what a pool of processes would do: the layer sees no others."""

    def __init__(self, *_: Any) -> None:
        pass

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - as a pool does
            done.set_exception(error)
        return done

    def shutdown(self, **_: Any) -> None:
        pass


def in_this_process() -> None:
    """Have work that goes to other processes done here, and pictures packed quickly."""
    from leukoscope.archive import engines  # noqa: PLC0415
    from leukoscope.studies.compare import grid  # noqa: PLC0415

    engines.ProcessPoolExecutor = _Pool  # type: ignore[misc, assignment]
    grid.run_in_child = grid.run_row  # type: ignore[assignment]
    packed = Image.SAVE["PNG"]

    def quickly(image: Image.Image, *to: Any) -> None:
        image.encoderinfo.setdefault("compress_level", 1)
        packed(image, *to)

    Image.SAVE["PNG"] = quickly


_HEAVY = (
    "matplotlib.pyplot", "scipy.special", "scipy.optimize", "sklearn.metrics", "sklearn.linear_model", "sklearn.svm",
    "leukoscope.inference.batch", "leukoscope.inference.gallery", "leukoscope.runs.finish",
    "leukoscope.runs.laboratory", "leukoscope.bundle.export", "leukoscope.runs.train", "leukoscope.training.pretrain",
    "leukoscope.archive.engines",
    "leukoscope.federation.report", "leukoscope.app.site", "leukoscope.datasets.leaks.report",
    "leukoscope.service.serve", "leukoscope.studies.audits.audit", "leukoscope.studies.compare.report",
    "leukoscope.studies.paper.report", "leukoscope.dicom.objects", "leukoscope.slides.results", "highdicom.sr", "timm",
)  # fmt: skip


def warm() -> None:
    """What is slow the first time and leaves no thread behind: writing a network as ONNX."""
    with suppress(ImportError):
        from leukoscope.bundle.export import graph_bytes  # noqa: PLC0415
        from leukoscope.models import create_model  # noqa: PLC0415

        graph_bytes(create_model("plain_cnn", widths=(4, 8)), 16, 64)


def pipe() -> tuple[int, int]:
    """One that takes all that a command tells, to be read when it has ended; no limit on files holds for it."""
    ends = os.pipe()
    fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def serve() -> None:
    """Fork for every line of standard input.

    What each command would do first is done before: a page of memory that a child writes to is copied, and to look
    through all modules writes to most of them.
    """
    from remembered import remember  # noqa: PLC0415 - beside this script

    from leukoscope.cli import VERBS  # noqa: PLC0415

    end_with_parent()
    for heavy in (*_HEAVY, *(module for module, _ in VERBS.values())):
        with suppress(ImportError):  # an extra that is not installed
            import_module(heavy)
    warm()
    in_this_process()
    remember(Path(os.environ["LEUKOSCOPE_CACHE"], "remembered"))
    gc.collect()
    gc.freeze()  # what is here is not looked through, and so not copied, by each child
    answers = os.fdopen(os.dup(1), "w")
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        (heard, told), (counted, steps) = pipe(), pipe()
        child = os.fork()
        if child == 0:
            status = 99
            try:
                status = run(json.loads(line), told, steps)
            except BaseException:  # noqa: BLE001 - of the layer itself
                os.write(told, traceback.format_exc().encode())
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # none that it started goes on
        os.close(told)
        os.close(steps)
        words, found = (os.fdopen(each, encoding="utf-8", errors="replace").read() for each in (heard, counted))
        status = HUNG if _LATE in words else os.waitstatus_to_exitcode(ended)
        counted_steps, sites = json.loads(found or "[[], []]")
        answer = {"status": status, "steps": counted_steps, "sites": sites, "told": words}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
    os._exit(0)  # libraries say at exit what they have not given back
