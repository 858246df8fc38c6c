"""How a command ends that is interrupted, and that no process outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leukoscope.cli._errors import Settings, guarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

ENDINGS = [
    (signal.SIGINT, "interrupted\n"),
    (signal.SIGTERM, "ended by SIGTERM\n"),
    (signal.SIGHUP, "ended by SIGHUP\n"),
]

_HEARS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background is deaf to it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""

_STUCK = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from leukoscope.cli._errors import Settings, guarded

def run():
    with ThreadPoolExecutor(2) as pool:  # a decoder that cannot be stopped
        waiting = [pool.submit(time.sleep, 600) for _ in range(2)]
        print("ready", flush=True)
        waiting[0].result()

guarded(run, Settings())
"""

_SHARED = """
import os, signal, sys, time
from pathlib import Path
from leukoscope.cli._errors import Settings, guarded
from leukoscope.workers import workers

def wait(path):
    Path(path, str(os.getpid())).touch()
    time.sleep(600)

def run():
    with workers(2) as share:
        share("waiting", wait, [(sys.argv[1],), (sys.argv[1],)])

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guarded(run, Settings())
"""


def soon(what: Callable[[], bool]) -> bool:
    """Whether it comes true within two minutes, on however busy a machine."""
    end = time.monotonic() + 120
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended, or is only remembered."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, as a terminal makes them; ended with the test, however that ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "told"), ENDINGS)
def test_an_interrupt_does_not_wait_for_threads_that_cannot_be_stopped(number: signal.Signals, told: str) -> None:
    with running(sys.executable, "-c", _HEARS + _STUCK) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)  # they would sleep for ten minutes
        assert (process.returncode, said) == (128 + number, told)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process, and those that share its work."""
    script, pids = tmp_path / "shared.py", tmp_path / "pids"
    script.write_text(_SHARED)
    pids.mkdir()
    with running(sys.executable, str(script), str(pids)) as process:
        assert soon(lambda: len(list(pids.iterdir())) == 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process, [int(path.name) for path in pids.iterdir()]


def test_an_interrupt_from_a_terminal_ends_all_and_children_say_nothing(started) -> None:
    process, workers = started
    os.killpg(process.pid, signal.SIGINT)  # to every process of the group
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "interrupted\n")
    assert soon(lambda: all(gone(pid) for pid in workers))


def test_no_worker_outlives_its_parent(started) -> None:
    process, workers = started
    process.kill()
    process.communicate(timeout=60)
    assert soon(lambda: all(gone(pid) for pid in workers))


def test_what_is_closed_without_memory_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of `guarded` says it; what else goes wrong where something is closed is told as ever."""

    def closing(error: type[Exception]) -> Iterator[int]:
        try:
            yield 1
        finally:
            raise error

    def run() -> None:
        for error in (MemoryError, ValueError):
            left = closing(error)
            next(left)
            del left
        raise MemoryError

    told: list[type | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))
    hook = sys.unraisablehook
    with pytest.raises(SystemExit) as end:
        guarded(run, Settings())
    assert (end.value.code, told) == (2, [ValueError])
    assert sys.unraisablehook is hook


def test_a_thread_that_ends_without_memory_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(error: type[Exception]) -> None:
        raise error

    def run() -> None:
        for error in (MemoryError, ValueError):
            thread = threading.Thread(target=ends, args=(error,))
            thread.start()
            thread.join()

    told: list[type] = []
    monkeypatch.setattr(threading, "excepthook", lambda found: told.append(found.exc_type))
    with pytest.raises(SystemExit) as end:
        guarded(run, Settings())
    assert (end.value.code, told) == (0, [ValueError])
