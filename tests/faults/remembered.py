"""Slow functions that write nothing, answered from an earlier run: a verb that is struck often asks them alike.

What is remembered lies in a folder that no verb writes. What a verb writes, and in which order, stays as it is.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

#: By module and name; each answers from its arguments alone.
_SLOW = (
    ("leukoscope.datasets.rendered_field", "render_field"),
    ("leukoscope.datasets.synthetic", "render_cell"),
    ("leukoscope.studies.paper.rulings", "parameters"),
    ("leukoscope.web.packed", "packed"),
)

_forgotten = threading.Event()


def remember(folder: Path) -> None:
    """Take what is known in ``folder`` from now on, and add what is not."""
    for module, name in _SLOW:
        with suppress(ImportError):
            _replace(getattr(import_module(module), name), folder, _by_arguments)
    with suppress(ImportError):
        from leukoscope.bundle.export import graph_bytes  # noqa: PLC0415 - needs torch

        _replace(graph_bytes, folder, _by_network)
    with suppress(ImportError):
        from leukoscope.reports import plots  # noqa: PLC0415

        for name, draw in plots.DRAWINGS.items():
            plots.DRAWINGS[name] = _remembered(draw, folder, _by_arguments)  # type: ignore[index]


def forget() -> None:
    """Take nothing from what is known any more, in this process."""
    _forgotten.set()


def _by_arguments(*args: Any, **options: Any) -> bytes:
    return pickle.dumps((args, options))


def _by_network(model: Any, *sizes: int) -> bytes:
    network = model.cpu().eval()  # as the function itself leaves it
    weights = [(name, bytes(each.numpy().tobytes())) for name, each in network.state_dict().items()]
    return pickle.dumps((repr(network), weights, sizes))


def _remembered(real: Callable[..., Any], folder: Path, key: Callable[..., bytes]) -> Callable[..., Any]:
    @functools.wraps(real)
    def found(*args: Any, **options: Any) -> Any:
        if _forgotten.is_set():
            return real(*args, **options)
        try:
            name = hashlib.sha256(real.__qualname__.encode() + key(*args, **options)).hexdigest()
        except (TypeError, AttributeError, pickle.PicklingError):  # of what cannot be told apart
            return real(*args, **options)
        file = folder / name
        if file.exists():
            return pickle.loads(file.read_bytes())
        answer = real(*args, **options)
        with suppress(OSError):  # where files must not grow
            folder.mkdir(parents=True, exist_ok=True)
            made = file.with_suffix(f".{os.getpid()}")
            made.write_bytes(pickle.dumps(answer))
            made.rename(file)
        return answer

    return found


def _replace(real: Callable[..., Any], folder: Path, key: Callable[..., bytes]) -> None:
    """Wherever it was imported to."""
    other = _remembered(real, folder, key)
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is real:
                setattr(module, name, other)
