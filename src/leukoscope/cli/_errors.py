"""How the command line ends: exit codes, and one line instead of a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from leukoscope.errors import LeukoscopeError
from leukoscope.text import printable

USAGE = 2  # wrong usage, or something named on the command line is unusable
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT


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
