"""How long the way of one answer and of one small training is: functions, files, hops between files.

    python benchmarks/way.py --out docs/figures/way.json

Runs `leukoscope predict` on one rendered cell and `leukoscope train` on 60 rendered cells, one epoch, in this process
under `sys.setprofile`. A hop is a call from a function of one file of the package to one of another. What runs while
modules are imported is left out, bodies of classes with it: else the first verb of a process would seem the longest.
Openings of pictures and written files of a bundle are counted by the names that they are opened with. Decodings are
counted where Pillow makes a decoder for a file and where OpenCV decodes. All of this process alone, its threads
included.
"""

from __future__ import annotations

import datetime as dt
import inspect
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import leukoscope
from _common import command_line, report
from leukoscope.cli import main as command
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.machine import describe_machine

PACKAGE = str(Path(leukoscope.__file__).parent)


class Way:
    """Counts the calls of the package's own functions."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str, int]] = set()
        self.hops = 0
        self.calls = 0
        self.decoded = 0

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        """Note one call."""
        code = frame.f_code
        if event == "c_call":
            self.decoded += getattr(called, "__name__", "") in ("imdecode", "imread")
        elif event == "call" and code.co_name == "_getdecoder":
            from_array = frame.f_back is not None and frame.f_back.f_code.co_name == "frombytes"
            self.decoded += code.co_filename.endswith(str(Path("PIL", "Image.py"))) and not from_array
        if event != "call" or not code.co_filename.startswith(PACKAGE) or code.co_name.startswith("<"):
            return
        if not code.co_flags & inspect.CO_OPTIMIZED or _importing(frame):  # the body of a class, or of a module
            return
        self.calls += 1
        self.functions.add((code.co_filename, code.co_name, code.co_firstlineno))
        before = frame.f_back
        while before is not None and not before.f_code.co_filename.startswith(PACKAGE):
            before = before.f_back
        if before is not None and before.f_code.co_filename != code.co_filename:
            self.hops += 1


def _importing(frame: FrameType) -> bool:
    """Whether a module of the package is being run further up: verbs import late, and that is no part of the way."""
    above = frame.f_back
    while above is not None:
        if above.f_code.co_name == "<module>" and above.f_code.co_filename.startswith(PACKAGE):
            return True
        above = above.f_back
    return False


def walk(arguments: list[str]) -> dict[str, int]:
    """Run a verb and count its way."""
    opened: Counter[str] = Counter()

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str):
            opened[Path(args[0]).name + (" written" if "w" in str(args[1] or "") else "")] += 1

    sys.addaudithook(audit)
    way = Way()
    threading.setprofile(way)
    sys.setprofile(way)
    try:
        command(arguments, standalone_mode=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    bitmaps = {name: times for name, times in opened.items() if name.endswith((".png", ".bmp"))}
    return {
        "functions": len(way.functions),
        "files": len({file for file, _, _ in way.functions}),
        "calls": way.calls,
        "hops_between_files": way.hops,
        "pictures": len(bitmaps),
        "pictures_opened": sum(bitmaps.values()),
        "pictures_decoded": way.decoded,
        "bundle_json_written": sum(
            n for name, n in opened.items() if name.startswith(("bundle.json", ".bundle.json")) and "written" in name
        ),
    }


def main() -> None:
    """Walk both ways, print and write what was counted."""
    out = command_line(__doc__, out=Path).parse_args().out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(["demo", "--out", str(folder / "demo")], standalone_mode=False)
        cell = min((folder / "demo" / "pictures").glob("*.png"))
        write_synthetic(folder / "cells", count=60, seed=1, layout="cnmc", subjects=12)
        predict = ["predict", str(cell), "--threads", "1"]
        train = ["train", "--data", str(folder / "cells"), "--out", str(folder / "run")]
        train += ["--cache", str(folder / "cache")]
        train += ["--model", "plain_cnn", "--epochs", "1", "--set", "input.size=32", "--set", "split.folds=3"]
        found = {"predict": walk(predict), "train": walk(train)}
    modules = sorted(Path(PACKAGE).rglob("*.py"))
    found["package"] = {
        "modules": sum(path.name != "__init__.py" for path in modules),
        "lines": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules),
    }
    today = dt.datetime.now(dt.UTC).date().isoformat()
    value = {"command": "python benchmarks/way.py", "machine": describe_machine(), "date": today, **found}
    report(value, out)


if __name__ == "__main__":
    main()
