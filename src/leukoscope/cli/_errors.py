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
INTERRUPTED = 130  # 128 + SIGINT
_GRACE = 1.5  # seconds that threads and processes have to end in after Ctrl-C


@dataclass(slots=True)
class Settings:
    """What the options before the verb say."""

    debug: bool = False


def guarded(run: Callable[[], Any], settings: Settings) -> NoReturn:
    """Run and exit: 0, or the verb's own code; 2 usage and known errors; 70 unexpected ones; 130 interrupted.

    With ``settings.debug``, errors keep their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ending_soon():
            code = run()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
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


def _end_now() -> None:
    os.write(2, b"interrupted\n")  # threads that are stuck may hold the lock of standard error
    os._exit(INTERRUPTED)


@contextmanager
def _ending_soon() -> Iterator[None]:
    """Let Ctrl-C end the process within `_GRACE`, whatever its threads are decoding or computing then.

    What was being written is left under a temporary name, and removed by the next run: see `leukoscope.files`.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupted(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        timer = threading.Timer(_GRACE, _end_now)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


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
