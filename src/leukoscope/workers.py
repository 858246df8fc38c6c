"""Processes that share work and end with the process that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import cv2

from leukoscope.progress import SILENT, Progress

_UNSAID = "ignore:resource_tracker:UserWarning"


class Run(Protocol):
    """Runs a function over many arguments and gives the outcomes in their order."""

    def __call__(self, stage: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run ``function`` once per entry of ``calls``."""


def start_worker() -> None:
    """Set a worker up: one thread, and an end when the process that started it is killed."""
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def end_with_stdin() -> None:
    """End this process when its standard input closes: whoever started it holds it open as long as it lives."""
    threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    sys.stdin.read()
    os._exit(1)


@contextmanager
def children_deaf_to_interrupts() -> Iterator[None]:
    """Processes started meanwhile do not hear what a terminal sends to all, Ctrl-C or its end: their parent does.

    Python's own watcher of semaphores, which starts with the first of them, is silent where this process is ended: it
    clears them away anyhow.
    """
    if _UNSAID not in sys.warnoptions:
        sys.warnoptions.append(_UNSAID)
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def workers(jobs: int, progress: Progress = SILENT) -> Iterator[Run]:
    """Processes that share the work; with one job, the work is done in this process.

    Args:
        jobs: number of processes.
        progress: shows each stage, with its calls.
    """
    pool = None
    if jobs > 1:
        with children_deaf_to_interrupts():  # Python's watcher of semaphores starts here
            pool = ProcessPoolExecutor(jobs, get_context("spawn"), start_worker)

    def run(stage: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        results: list[Any] = [None] * len(calls)
        if not calls:
            return results
        with progress.stage(stage, len(calls)) as advance:
            if pool is None:
                for number, call in enumerate(calls):
                    results[number] = function(*call)
                    advance(1)
                return results
            with children_deaf_to_interrupts():
                waiting: dict[Future[Any], int] = {pool.submit(function, *call): n for n, call in enumerate(calls)}
            for future in as_completed(waiting):
                results[waiting[future]] = future.result()
                advance(1)
        return results

    try:
        yield run
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
