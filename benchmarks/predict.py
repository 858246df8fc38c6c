"""Speed and memory of running bundles: one cell on one thread in its parts, many on all cores, the command's start.

Run: python benchmarks/predict.py [--bundle DIR ...] [--pictures DIR] [--cells N] [--skip PART ...] [--out FILE.json]
Without pictures, cells are rendered and written as PNG. `one_thread` writes the pictures as BMP, PNG, WebP and JPEG and
takes them from the file to the answer, all bundles in turns; beside the wall clock stands the processor time of the one
thread, which other processes on the machine hardly add to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from _common import ONE_THREAD_KINDS, command_line, load_of_machine, pictures_in, report, written_as
from leukoscope.bundle.read import Bundle, default_bundle, read_bundle
from leukoscope.cells.frame import prepare
from leukoscope.cells.read import read_picture
from leukoscope.datasets.synthetic import render_cell
from leukoscope.inference.classifier import Classifier, load
from leukoscope.machine import cpu_count, describe_machine

KINDS = ONE_THREAD_KINDS | {"jpg": {"quality": 95}}
ROUNDS = 5


def without_gate(bundle: Bundle) -> Bundle:
    """The same bundle, which then measures no picture's quality."""
    return replace(bundle, facts=bundle.facts.model_copy(update={"gate": None}))


def parts(bundle: Bundle) -> dict[str, Callable[[Path], object]]:
    """What is timed of one file: from it to the answer with heat map, with gate, with words; and the stages."""
    bare, full = (Classifier(each, threads=1) for each in (without_gate(bundle), bundle))
    preparation = bundle.facts.preparation
    frames: dict[Path, Any] = {}

    def framed(path: Path) -> Any:
        if path not in frames:
            rgb = read_picture(path).rgb
            frames[path] = rgb, prepare(rgb, preparation)[None]
        return frames[path]

    found: dict[str, Callable[[Path], object]] = {
        "file_to_answer": bare.predict,
        "read": read_picture,
        "hash": lambda path: hashlib.sha256(path.read_bytes()).hexdigest(),
        "prepare": lambda path: prepare(framed(path)[0], preparation),
        "graph": lambda path: bare.predict_frames(framed(path)[1]),
        "words": lambda path: list(bare.predict_many([path], morphology=True)),
    }
    if bundle.facts.gate is not None:
        found["with_gate"] = full.predict
    return found


def one_thread(bundles: list[Path], pictures: list[Path], folder: Path) -> dict[str, Any]:
    """Milliseconds per cell by kind of file, bundle and part: medians over cells of each cell's least, and of all."""
    cv2.setNumThreads(1)
    calls = {name: parts(read_bundle(name)) for name in bundles}
    report: dict[str, Any] = {}
    for kind, options in KINDS.items():
        paths = written_as(kind, pictures, folder, **options)
        wall: dict[tuple[Path, str], list[list[float]]] = {}
        used: dict[tuple[Path, str], list[list[float]]] = {}
        for number in range(ROUNDS + 1):
            turn = [(name, part) for name, each in calls.items() for part in each]
            for name, part in turn[:: 1 if number % 2 else -1]:
                seconds = []
                for path in paths:
                    started, before = time.perf_counter(), time.thread_time()
                    calls[name][part](path)
                    seconds.append((1e3 * (time.perf_counter() - started), 1e3 * (time.thread_time() - before)))
                if number:  # the first round warms up
                    for kept, column in zip((wall, used), zip(*seconds, strict=True), strict=True):
                        kept.setdefault((name, part), []).append(list(column))
        report[kind] = {
            label(name): {
                part: {
                    "cpu_ms_least": float(np.median(np.min(used[name, part], axis=0))),
                    "cpu_ms": float(np.median(used[name, part])),
                    "wall_ms_least": float(np.median(np.min(wall[name, part], axis=0))),
                    "wall_ms": float(np.median(wall[name, part])),
                }
                for part in each
            }
            for name, each in calls.items()
        }
    return report


def label(bundle: Path) -> str:
    """Name of a bundle in the report."""
    facts = read_bundle(bundle).facts
    return f"{facts.name}, {facts.input_size} px"


def all_cores(bundle: Path, pictures: list[Path], batch_size: int) -> dict[str, float]:
    """Cells per second through `predict_many` on all usable cores and processor time per cell, best of three passes."""
    classifier = load(bundle)
    best, used = float("inf"), float("inf")
    for _ in range(3):
        started, before = time.perf_counter(), time.process_time()
        count = sum(1 for _ in classifier.predict_many(pictures, batch_size))
        best = min(best, time.perf_counter() - started)
        used = min(used, time.process_time() - before)
    return {
        "cells_per_second": count / best, "cpu_ms_per_cell": 1e3 * used / count, "threads": classifier.threads,
        "batch_size": batch_size,
    }  # fmt: skip


def peak_memory() -> float:
    """Peak resident memory of this process in MiB; on Linux without what it had of its parent before it was Python."""
    status = Path("/proc/self/status")
    if status.exists():
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def in_child(bundle: Path, folder: Path, batch_size: int) -> dict[str, float]:
    """`all_cores` in a fresh process; adds its peak resident memory in MiB."""
    command = [sys.executable, __file__, "--child", "--bundle", str(bundle), "--pictures", str(folder)]
    done = subprocess.run([*command, "--batch-size", str(batch_size)], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def cold_start(bundle: Path, picture: Path, repeats: int = 5) -> dict[str, float]:
    """Seconds from the shell to the end, median: the help, and one picture answered."""

    def seconds(*arguments: str) -> float:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "leukoscope", *arguments], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    return {"help_s": seconds("--help"), "predict_one_s": seconds("predict", str(picture), "--bundle", str(bundle))}


def write_rendered(folder: Path, count: int) -> None:
    """Render ``count`` cells, half of them blast-like, as PNG."""
    for seed in range(count):
        Image.fromarray(render_cell(seed, "blast" if seed % 2 else "normal")).save(folder / f"{seed:04d}.png")


def main() -> None:
    """Measure and print JSON."""
    parser = command_line(__doc__, pictures=Path, cells=128, timed=20, batch_size=8, out=Path)
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--skip", action="append", default=[], choices=["one_thread", "all_cores", "cold_start"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bundles = args.bundle or [default_bundle()]
    if args.child:
        result = all_cores(bundles[0], pictures_in(args.pictures), args.batch_size)
        print(json.dumps(result | {"peak_memory_mib": peak_memory()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cells"
        folder.mkdir()
        if args.pictures is None:
            write_rendered(folder, args.cells)
        else:  # links to the first ones
            found = [path.resolve() for path in pictures_in(args.pictures)]
            for source in found[:: max(1, len(found) // args.cells)][: args.cells]:
                (folder / source.name).symlink_to(source)
        pictures = pictures_in(folder)
        figures: dict[str, Any] = {
            "machine": describe_machine(),
            "cores": cpu_count(),
            "load": load_of_machine(),
            "cells": len(pictures),
            "timed_on_one_thread": min(args.timed, len(pictures)),
            "source": "rendered" if args.pictures is None else args.pictures.name,
        }
        if "one_thread" not in args.skip:
            figures["one_thread"] = one_thread(bundles, pictures[: args.timed], Path(temporary))
        if "all_cores" not in args.skip:
            figures["all_cores"] = {label(each): in_child(each, folder, args.batch_size) for each in bundles}
        if "cold_start" not in args.skip:
            figures["cold_start"] = cold_start(bundles[0], pictures[0])
    report(figures, args.out)


if __name__ == "__main__":
    main()
