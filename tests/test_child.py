"""A process with bounded memory and time: what it answers, and that it ends with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from leukoscope.child import Bounds, Child, ChildEndedError
from leukoscope.errors import PictureError

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere neither memory nor processor time is bounded")


def fail(what: str) -> None:
    raise PictureError(what, path="a.png", remedy="look")


def talk() -> int:
    sys.stdout.write("to standard output\n")
    sys.stdout.flush()
    os.write(1, b"past Python\n")
    os.write(2, b"to standard error\n")
    return os.getpid()


def work_for_ever() -> None:
    while True:
        pass


def ask_a_child_of_its_own() -> int:
    child = Child(Bounds(60))
    try:
        return child.call(os.getppid)
    finally:
        child.close()


@pytest.fixture
def made() -> Iterator[Callable[..., Child]]:
    children = []

    def make(*bounds: float, **more: float) -> Child:
        children.append(Child(Bounds(*bounds, **more)))
        return children[-1]

    yield make
    for child in children:
        child.close()


def test_arrays_go_there_and_come_back_whole_and_writeable(made) -> None:
    child = made(120)
    values = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    found = child.call(np.flip, values, 0)
    assert np.array_equal(found, values[::-1])
    child.call(np.copy, found)[:] = 0


def test_errors_are_told_whole_and_the_process_goes_on(made, capfd) -> None:
    child = made(120)
    pid = child.call(talk)
    with pytest.raises(PictureError) as caught:
        child.call(fail, "is wrong")
    assert (str(caught.value), caught.value.remedy) == ("a.png: is wrong; look", "look")
    assert child.call(talk) == pid != os.getpid()
    assert capfd.readouterr() == ("", "")


def test_a_process_that_died_is_replaced(made) -> None:
    child = made(120)
    before = child.call(os.getpid)
    with pytest.raises(ChildEndedError, match="ended") as caught:
        child.call(os._exit, 7)
    assert not caught.value.late
    assert child.call(os.getpid) != before


def test_it_is_ended_when_it_takes_too_long(made) -> None:
    child = made(0.2)
    with pytest.raises(ChildEndedError, match=r"longer than 0\.2 s and") as caught:
        child.call(time.sleep, 3600)
    assert caught.value.late


@on_linux
def test_processor_time_and_memory_are_bounded(made) -> None:
    with pytest.raises(ChildEndedError, match=r"longer than 0\.5 s of processor time") as caught:
        made(3600, processor_seconds=0.5).call(work_for_ever)
    assert caught.value.late
    child = made(120, 2**30)
    with pytest.raises(MemoryError):
        child.call(bytes, 2**30)
    assert len(child.call(bytes, 2**20)) == 2**20


def test_a_child_may_have_one_of_its_own(made) -> None:
    child = made(120)
    assert child.call(ask_a_child_of_its_own) == child.call(os.getpid)


_PARENT = """
import os, sys, time
from pathlib import Path
from leukoscope.child import Bounds, Child

child = Child(Bounds(3600))
print(child.call(os.getpid), flush=True)
child.call(time.sleep, 3600)
"""


@on_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_parent_in_the_midst_of_work(how: signal.Signals) -> None:
    hears = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", hears + _PARENT], stdout=pipe, stderr=pipe, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, how)
        parent.communicate(timeout=120)
    end = time.monotonic() + 120
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()
