"""How the command line ends: exit codes, and one line instead of a traceback."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from leukoscope.errors import LeukoscopeError
from leukoscope.text import printable

USAGE = 2  # wrong usage, or something named on the command line is unusable
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
_GRACE = 1.5  # seconds that threads and processes have to end in after Ctrl-C
#: What ends a command, with what it heard before that is ended by it, and the word for it.
_ENDINGS = {
    "SIGINT": (signal.default_int_handler, "interrupted"),
    "SIGTERM": (signal.SIG_DFL, "ended by SIGTERM"),
    "SIGHUP": (signal.SIG_DFL, "ended by SIGHUP"),
}


@dataclass(slots=True)
class Settings:
    """What the options before the verb say."""

    debug: bool = False


def guarded(run: Callable[[], Any], settings: Settings) -> NoReturn:
    """Run and exit: 0, or the verb's own code; 2 usage and known errors; 70 unexpected ones; 130 interrupted.

    Other signals give 128 and their number, as shells have it. With ``settings.debug``, errors keep their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ending_soon() as heard, _closed_quietly(settings):
            code = run()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        number = heard[0] if heard else signal.SIGINT
        click.echo(_ENDINGS[number.name][1], err=True)
        sys.exit(128 + number)
    except MemoryError as error:
        if settings.debug:
            raise
        what = f" ({error})" if str(error) else ""
        _say(f"error: memory ran out{what}; use fewer threads, smaller batches, or end other programs")
        sys.exit(USAGE)
    except (LeukoscopeError, OSError) as error:
        if settings.debug:
            raise
        _silence_full_stdout(error)
        _say(f"error: {_told(error)}")
        sys.exit(USAGE)
    except Exception as error:
        if settings.debug:
            raise
        _say(f"error: unexpected {type(error).__name__}: {error}; for the traceback run: leukoscope --debug ...")
        sys.exit(UNEXPECTED)
    sys.exit(code if isinstance(code, int) and not isinstance(code, bool) else 0)


@contextmanager
def _closed_quietly(settings: Settings) -> Iterator[None]:
    """What is closed, and a thread that ends, without memory: the line that `guarded` tells says it once."""
    before, of_threads = sys.unraisablehook, threading.excepthook

    def unraised(found: sys.UnraisableHookArgs) -> None:
        if settings.debug or not isinstance(found.exc_value, MemoryError):
            before(found)

    def ended(found: threading.ExceptHookArgs) -> None:
        if settings.debug or not issubclass(found.exc_type, MemoryError):
            of_threads(found)

    sys.unraisablehook, threading.excepthook = unraised, ended
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = before, of_threads


def _end_now(number: signal.Signals) -> None:
    os.write(2, f"{_ENDINGS[number.name][1]}\n".encode())  # threads that are stuck may hold the lock of standard error
    os._exit(128 + number)


@contextmanager
def _ending_soon() -> Iterator[list[signal.Signals]]:
    """Let Ctrl-C, and what else asks a process to end, end it within `_GRACE`, whatever its threads are computing then.

    What was being written is removed, or left under a temporary name and removed by the next run: see
    `leukoscope.files`. Yields the signals that were heard.
    """
    heard: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def ended(number: int, _frame: object) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        heard.append(signal.Signals(number))
        timer = threading.Timer(_GRACE, _end_now, heard)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    known = {getattr(signal, name): before for name, (before, _) in _ENDINGS.items() if hasattr(signal, name)}
    ours = {number: before for number, before in known.items() if signal.getsignal(number) is before}
    for each in ours:  # what a shell starts in the background, or `nohup`, stays deaf
        signal.signal(each, ended)
    try:
        yield heard
    finally:
        for each, before in ours.items():
            if signal.getsignal(each) is ended:
                signal.signal(each, before)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, LeukoscopeError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror or error}"
    return str(error)


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def _silence_full_stdout(error: Exception) -> None:
    """After a failed write to a full disk, the interpreter would try again at exit and print a traceback."""
    if isinstance(error, OSError):
        try:
            sys.stdout.flush()
        except OSError:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  (lives to the end)
