from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Timer
from typing import Any

import pytest

from leukoscope.cli._show import Terminal
from leukoscope.progress import SILENT
from leukoscope.threads import in_order, outcome
from leukoscope.workers import workers
from recorded import Recorded


@pytest.mark.parametrize("jobs", [1, 2])
def test_shared_work_shows_each_stage_with_its_calls(jobs: int) -> None:
    progress = Recorded()
    with workers(jobs, progress) as run:
        assert run("roots", math.sqrt, [(4.0,), (9.0,), (16.0,)]) == [2.0, 3.0, 4.0]
        assert run("nothing to do", math.sqrt, []) == []
    assert (progress.stages, progress.steps) == ([("roots", 3)], [1, 2, 3])


def test_a_terminal_shows_label_and_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().stage("reading", 2) as advance:
        advance(2)
    Terminal().say("a line")
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading" in err
    assert err.endswith("a line\n")


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.stage("reading", 2) as advance:
        advance(2)
    SILENT.say("a line")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("jobs", [1, 3])
def test_threads_give_their_results_in_order_and_never_run_far_ahead(jobs: int) -> None:
    begun: list[int] = []

    def double(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return 2 * item

    results = in_order(double, range(60), jobs)
    for expected in range(0, 120, 2):
        assert next(results) == expected
        assert len(begun) <= expected // 2 + 4 * jobs
    with pytest.raises(StopIteration):
        next(results)


def test_what_a_thread_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [1, 0], 2))


def dies_at_once(*_: object) -> None:
    """A thread of a pool that gets no memory while it starts."""


def loses_its_work(_: object, queue: SimpleQueue[object], *__: object) -> None:
    """A thread of a pool that gets no memory as it takes a piece of work."""
    queue.get()


def keeps_the_lock(_: object, queue: SimpleQueue[Any], *__: object) -> None:
    """A thread of a pool that gets no memory as it gives back the lock of what it worked out."""
    queue.get().future._condition.acquire()


@pytest.mark.parametrize("thread", [dies_at_once, loses_its_work, keeps_the_lock])
def test_work_of_a_thread_that_is_gone_is_not_waited_for(
    thread: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("concurrent.futures.thread._worker", thread)
    with ThreadPoolExecutor(2) as pool, pytest.raises(MemoryError, match="a thread got no memory"):
        outcome(pool.submit(math.sqrt, 4.0), pool)


@pytest.mark.parametrize("threads", [1, 2])
def test_nor_that_of_one_that_could_not_hand_over_what_it_made(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Event()

    def lost(_: object) -> None:
        raise MemoryError

    with ThreadPoolExecutor(threads) as pool:
        other = pool.submit(math.sqrt, 4.0)
        assert outcome(other, pool) == 2.0
        work = pool.submit(begun.wait)
        monkeypatch.setattr(work, "set_result", lost)
        later = [pool.submit(math.sqrt, 9.0) for _ in range(threads - 1)]
        begun.set()
        with pytest.raises(MemoryError, match="a thread got no memory"):
            outcome(work, pool)
        assert [outcome(each, pool) for each in later] == [3.0] * (threads - 1)


def test_work_that_takes_longer_than_a_look_is_waited_for() -> None:
    go = Event()
    with ThreadPoolExecutor(1) as pool:
        slow, next_one = pool.submit(go.wait), pool.submit(math.sqrt, 4.0)
        Timer(2.5, go.set).start()
        assert outcome(next_one, pool) == 2.0  # while it lies in the queue
        assert outcome(slow, pool) is True
