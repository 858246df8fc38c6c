"""What a verb's `--out` holds already: no verb replaces the results of another run in silence. One rule for all."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from leukoscope.errors import LeukoscopeError
from leukoscope.files import unsettled, write_json

REPLACE = click.option("--replace", is_flag=True, help="Replace the results of another run in --out.")
MADE_BY: Final = ".made_by.json"  # in a folder of results: by verb, the digest of what was asked for
BUNDLE_FILE: Final = "bundle.json"
#: What changes how long a run takes, where it is shown or kept, but not what it finds.
_ASIDE: Final = frozenset({"out", "replace", "threads", "jobs", "cache", "work", "device", "devices", "write"})
_Verb = TypeVar("_Verb", bound=Callable[..., Any])


def keeps_results(
    *names: str,
    default: Callable[[Mapping[str, Any]], Path] | None = None,
    asked: tuple[str, ...] = (),
    own: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Callable[[_Verb], _Verb]:
    """A verb whose `--out` keeps what another run wrote there, unless `--replace` is given.

    The same command given again replaces its own results. What was asked for is told by the verb's arguments, of which
    a digest is left in `MADE_BY`.

    Args:
        names: files of the folder by which results are known; none: `--out` is itself a file, or a bundle's folder, and
            bears no `MADE_BY`: what is there is another run's.
        default: the folder where no `--out` is given, from the arguments; None: then the verb writes nothing, or in the
            place of what it was given, as it says.
        asked: arguments that tell one run from another; empty: all but those that change no result.
        own: whether results that bear no mark are what is asked for now, from the arguments: those of `train`, say.
    """

    def decorate(verb: _Verb) -> _Verb:
        @REPLACE
        @functools.wraps(verb)
        def guarded(*arguments: Any, replace: bool, **values: Any) -> Any:
            out = values["out"]
            if out is None and default is not None:
                out = default(values)
            if out is None:
                return verb(*arguments, **values)
            name = click.get_current_context().command_path.partition(" ")[2]
            run = _digest({key: values[key] for key in asked or sorted(values.keys() - _ASIDE)})
            held = _made_by(out)
            same = held.get(name) == run if name in held else own is not None and own(values)
            if not replace and _holds(out, names) and not same:
                raise _taken(out, f"`{name}` of something else" if name in held else "it is not known which")
            if not names:
                return verb(*arguments, **values)
            new = not out.exists()
            write_json(out / MADE_BY, held | {name: run})  # first: killed at any moment, the same command goes on
            try:
                return verb(*arguments, **values)
            except BaseException:
                if not _holds(out, names):
                    _unmark(out, folder=new)
                raise

        return guarded  # type: ignore[return-value]

    return decorate


def check_results(file: Path, run: str, told: Callable[[Mapping[str, Any]], str]) -> None:
    """Refuse a folder that holds the results of another run, where the results themselves tell which run that was.

    Args:
        file: of JSON, which the run writes, with its digest as ``run``; one without it is of an earlier version.
        run: digest of what is asked for now.
        told: what the other run was, in a few words, from the values of its file.

    Raises:
        LeukoscopeError: it does.
    """
    found = _read(file)
    if found and (found.get("run") not in {None, run} or _made_by(file.parent)):
        raise _taken(file.parent, told(found))


def _unmark(out: Path, *, folder: bool) -> None:
    (out / MADE_BY).unlink(missing_ok=True)
    if folder:
        with suppress(OSError):  # something else is in it
            out.rmdir()


def _taken(out: Path, told: str) -> LeukoscopeError:
    return LeukoscopeError(
        f"holds the results of another run ({told})", path=out, remedy="choose another --out, or --replace them"
    )


def _holds(out: Path, names: tuple[str, ...]) -> bool:
    if not names:
        return out.is_file() or (out / BUNDLE_FILE).exists()
    return unsettled(out) or any((out / name).exists() for name in names)


def _made_by(folder: Path) -> dict[str, Any]:
    return _read(folder / MADE_BY)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of arguments; a path counts as where it is, however it was written."""
    told = json.dumps(values, default=lambda each: str(each.resolve()) if isinstance(each, Path) else str(each))
    return hashlib.sha256(told.encode()).hexdigest()
