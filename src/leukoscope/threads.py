"""Threads that share work, and are waited for as long as there is something to wait for."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_ENDED: Final = frozenset({"FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED"})  # as the standard library calls it
_PATIENCE: Final = 1.0  # seconds after which the threads of a pool are looked at


def outcome(future: Future[_Result], pool: ThreadPoolExecutor) -> _Result:
    """What a thread of ``pool`` makes of a piece of work, waited for.

    A thread that gets no memory while it starts, as it takes a piece of work, or as it hands over what it made, ends
    without a word, and `Future.result` would wait for ever: Python's pool neither starts another nor tells. It may even
    end without giving back the lock of the future.

    Raises:
        MemoryError: the work was lost in this way; and whatever the work raises.
    """
    missed = 0
    while not _done(future):
        # Private names, as the public ones do not tell: who is alive, and whether the work still lies in the queue.
        waits = any(thread.is_alive() for thread in pool._threads) and not pool._work_queue.empty()
        lost = not _in_hand(future, pool) and (future._state != "PENDING" or not waits)
        missed = missed + 1 if lost else 0  # twice: it may have been taken and not begun
        if missed == 2:
            raise MemoryError("a thread got no memory")
    return future.result()


def _done(future: Future[Any]) -> bool:
    """Whether it is done, waited for some time; false, too, where its lock cannot be had."""
    if not future._condition.acquire(timeout=_PATIENCE):
        return False
    try:
        return future._condition.wait_for(lambda: future._state in _ENDED, timeout=_PATIENCE)
    finally:
        future._condition.release()


def _in_hand(future: Future[_Result], pool: ThreadPoolExecutor) -> bool:
    """Whether a thread of ``pool`` is at the work of ``future``: its frames hold the piece of work that does."""
    frames = sys._current_frames()
    for thread in pool._threads:
        frame = frames.get(thread.ident or 0)
        while frame is not None:
            if frame.f_code.co_name == "run" and getattr(frame.f_locals.get("self"), "future", None) is future:
                return True
            frame = frame.f_back
    return False


def in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], jobs: int) -> Iterator[_Result]:
    """What a function gives for each item, in their order, worked out by threads.

    Only a few results wait at a time, so that memory stays small where the caller is the slower side.

    Args:
        function: of one item; what it raises ends the iteration.
        items: read as they are needed.
        jobs: threads.
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * jobs:
                    yield outcome(waiting.popleft(), pool)
            while waiting:
                yield outcome(waiting.popleft(), pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
