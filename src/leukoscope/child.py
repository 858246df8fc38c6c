"""A process that works with bounded memory and time: what kills it costs one answer, not the process that asked.

It is an interpreter of its own that is spoken to through its standard input and output, and not one of
`multiprocessing`: it can be started by a process that is itself such a child, and by scripts without a guard around
their main part. Large arrays go through the pipe without being copied in between; shared memory is not used, as
containers have 64 MB of it, and as it would stay behind after a kill.
"""

from __future__ import annotations

import atexit
import io
import math
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, ParamSpec, TypeVar, cast

from leukoscope.errors import LeukoscopeError

try:
    import resource
except ImportError:  # Windows has none: there neither memory nor processor time is bounded
    resource = None  # type: ignore[assignment]

P = ParamSpec("P")
T = TypeVar("T")

_START: Final = "import sys; sys.path[:] = sys.argv[2:]; from leukoscope.child import serve; serve(sys.argv[1])"
#: A terminal, or who ends a service, sends these to all. The parent hears them and ends this process; if it ended by
#: itself, the picture that it works on would be taken for one that cannot be read.
_OTHERS_HEAR: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_LENGTH: Final = struct.Struct("<Q")


class ChildEndedError(LeukoscopeError):
    """The process died, or was ended because it took too long.

    Attributes:
        late: whether it took too long.
    """

    late = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may take.

    Attributes:
        seconds: after which the process is ended.
        memory: bytes of address space; None: as much as there is.
        processor_seconds: of its own, which a busy machine does not shorten; None: as many as there are.
        niceness: added to the process's.
    """

    seconds: float
    memory: int | None = None
    processor_seconds: float | None = None
    niceness: int = 0


class Child:
    """A process that runs functions, one at a time; started when it is first needed, and again after it died.

    It ends with the process that started it, however that ends: its standard input is closed then. (The system's own
    signal for that, `PR_SET_PDEATHSIG`, is sent already when the thread ends that started it.)
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        _CHILDREN.add(self)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that stands in a module, with arguments that can be pickled.

        Raises:
            ChildEndedError: the process died or took too long.
            Exception: what the function raises.
        """
        with self._lock:
            process = self._started()
            clock = _Clock(self.bounds.seconds, process)
            try:
                _send(cast("BinaryIO", process.stdin), (function, args, kwargs))
                good, value = _receive(cast("BinaryIO", process.stdout))
            except (EOFError, OSError) as error:
                code = self._end()
                raise self._ended(code, late=clock.rang or code == -_OUT_OF_TIME) from error
            except BaseException:  # an interrupt between two parts of an answer: what follows would be misread
                self._end()
                raise
            finally:
                clock.stop()
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

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            bounds = pickle.dumps(self.bounds).hex()
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _START, bounds, *sys.path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        return self._process

    def _ended(self, code: int | None, *, late: bool) -> ChildEndedError:
        told = f"took longer than {self.bounds.seconds:g} s and was ended"
        if late and code == -_OUT_OF_TIME:
            told = f"took longer than {self.bounds.processor_seconds:g} s of processor time and was ended"
        if not late:
            told = "the process that reads pictures ended" + (f" (code {code})" if code is not None else "")
        error = ChildEndedError(told)
        error.late = late
        return error

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                cast("BinaryIO", pipe).close()
        process.kill()
        return process.wait()


_CHILDREN: Final[weakref.WeakSet[Child]] = weakref.WeakSet()
_OUT_OF_TIME: Final[int] = getattr(signal, "SIGXCPU", 0)


@atexit.register
def _end_all() -> None:
    for child in list(_CHILDREN):
        with suppress(KeyboardInterrupt):  # this process is ending
            child._end()  # without its lock: a thread that is not waited for may hold it


class _Clock:
    """Kills a process after some seconds, unless it is stopped before."""

    def __init__(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        self.rang = False
        self._stopped = False
        self._lock = threading.Lock()
        self._process = process
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        with self._lock:
            if not self._stopped:
                self.rang = True
                self._process.kill()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._timer.cancel()


def _send(pipe: BinaryIO, message: object) -> None:
    """Write a message, arrays behind the rest as they lie."""
    arrays: list[pickle.PickleBuffer] = []
    parts = [memoryview(pickle.dumps(message, protocol=5, buffer_callback=arrays.append))]
    parts += [array.raw() for array in arrays]
    pipe.write(b"".join(_LENGTH.pack(number) for number in (len(parts), *(part.nbytes for part in parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    """The next message.

    Raises:
        EOFError: the other side ended.
    """
    (count,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    lengths = [_LENGTH.unpack(_exactly(pipe, _LENGTH.size))[0] for _ in range(count)]
    first, *arrays = [_exactly(pipe, length) for length in lengths]
    return pickle.loads(first, buffers=arrays)  # noqa: S301  (from our own process)


def _exactly(pipe: BinaryIO, length: int) -> bytearray:
    part = bytearray(length)
    view, place = memoryview(part), 0
    while place < length:
        read = cast("io.BufferedReader", pipe).readinto(view[place:])
        if not read:
            raise EOFError
        place += read
    return part


def serve(bounds: str) -> None:
    """Answer calls until standard input is closed; what is printed meanwhile goes nowhere.

    Args:
        bounds: `Bounds`, pickled, in hexadecimal digits.
    """
    for each in _OTHERS_HEAR:
        signal.signal(each, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limits: Bounds = pickle.loads(bytes.fromhex(bounds))  # noqa: S301  (from our own process)
    _bound(limits)
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        function, args, kwargs = calls.get()
        if resource is not None and limits.processor_seconds is not None:
            most = math.ceil(time.process_time() + limits.processor_seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            answer = (True, function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (it is raised again on the other side)
            answer = (False, error)
        del args, kwargs
        try:
            _send(answers, answer)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001  (an error that cannot be pickled is told by its words)
            _send(answers, (False, RuntimeError(f"{type(error).__name__}: {answer[1]}")))
        del answer


def _listen(calls: queue.SimpleQueue[Any]) -> None:
    """Read calls in a thread of their own, which notices the end of the parent also while one is worked on."""
    try:
        while True:
            calls.put(_receive(sys.stdin.buffer))
    except Exception:  # noqa: BLE001  (whatever it is, nobody is there to be told)
        os._exit(0)


def _bound(limits: Bounds) -> None:
    with suppress(OSError, AttributeError):
        os.nice(limits.niceness)
    if resource is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a picture of a patient would be in it
        if limits.memory is not None:
            with suppress(OSError, ValueError):  # where the parent's bound is a lower one, that holds
                resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
