"""A process that works for the workbench, with bounded memory and time: what kills it costs one answer, not the server.

Whatever decodes a picture runs in such a process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar, cast

from leukoscope.errors import LeukoscopeError

try:
    import resource
except ImportError:  # Windows has none: memory is not bounded there
    resource = None  # type: ignore[assignment]

P = ParamSpec("P")
T = TypeVar("T")


class ChildEndedError(LeukoscopeError):
    """The process died, or was ended because it took too long."""


class Child:
    """A process that runs functions, one at a time; started when it is first needed, and again after it died.

    Args:
        seconds: after which it is ended.
        limit_bytes: of address space.
    """

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._seconds = seconds
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._pipe: Connection | None = None
        self._process: Any = None

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that stands in a module, with arguments that can be pickled.

        Raises:
            ChildEndedError: the process died or took too long.
            Exception: what the function raises.
        """
        with self._lock:
            pipe = self._started()
            try:
                pipe.send((function, args, kwargs))
                if not pipe.poll(self._seconds):
                    self._end()
                    raise ChildEndedError(f"took longer than {self._seconds:g} s and was ended")
                good, value = pipe.recv()
            except (EOFError, OSError) as error:
                code = self._end()
                raise ChildEndedError(f"the process that reads pictures ended{code}") from error
        if good:
            return cast("T", value)
        raise value

    def start(self) -> None:
        """Start it before it is needed."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._end()

    def _started(self) -> Connection:
        if self._pipe is None or not self._process.is_alive():
            self._end()
            context = get_context("spawn")
            ours, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._limit), daemon=True)
            self._process.start()
            theirs.close()
            self._pipe = ours
        return self._pipe

    def _end(self) -> str:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return ""
        process.kill()
        process.join(5)
        code = process.exitcode
        process.close()
        return f" (code {code})" if code is not None else ""


def _serve(pipe: Connection, limit: int) -> None:
    """Answer calls until the other end is closed, which it is when the server ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        os.nice(5)
    if resource is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (it is raised again on the other side)
            answer = (False, error)
        try:
            pipe.send(answer)
        except (OSError, ValueError):
            return
        except Exception as error:  # noqa: BLE001  (an error that cannot be pickled is told by its words)
            pipe.send((False, RuntimeError(f"{type(error).__name__}: {answer[1]}")))
