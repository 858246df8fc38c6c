"""Speed and memory of running a bundle: one cell on one thread, many cells on all cores, and the start of the command.

Run: python benchmarks/predict.py [--bundle DIR] [--pictures DIR] [--cells N] [--out FILE.json]
Without pictures, cells are rendered and written as PNG, so that decoding is part of what is timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.data.synthetic import render_cell
from leukoscope.inference.classifier import load
from leukoscope.inference.walk import find_pictures
from leukoscope.machine import cpu_count, describe_machine


def one_thread(bundle: Path, pictures: list[Path]) -> dict[str, float]:
    """Milliseconds per cell, file to answer with heat map, one cell at a time on one thread."""
    classifier = load(bundle, threads=1)
    classifier.predict(pictures[0])
    answers = []
    times = []
    for picture in pictures:
        start = time.perf_counter()
        answers.append(classifier.predict(picture))
        times.append(1e3 * (time.perf_counter() - start))
    cuts = statistics.quantiles(times, n=20)
    stages = {
        f"{stage}_ms_median": statistics.median(answer.timings[stage] for answer in answers)
        for stage in ("read", "prepare", "graph")
    }
    return {"ms_median": statistics.median(times), "ms_p95": cuts[-1], **stages}


def all_cores(bundle: Path, pictures: list[Path], batch_size: int) -> dict[str, float]:
    """Cells per second through `predict_many` on all usable cores, best of three passes."""
    classifier = load(bundle)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        count = sum(1 for _ in classifier.predict_many(pictures, batch_size))
        best = min(best, time.perf_counter() - start)
    return {"cells_per_second": count / best, "threads": classifier.threads, "batch_size": batch_size}


def in_child(what: str, bundle: Path, folder: Path, batch_size: int) -> dict[str, float]:
    """Run one measurement in a fresh process; adds its peak resident memory in MiB."""
    command = [sys.executable, __file__, "--child", what, "--bundle", str(bundle), "--pictures", str(folder)]
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


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=["one_thread", "all_cores"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON."""
    args = arguments()
    bundle = args.bundle or default_bundle()
    if args.child:
        pictures = [item for item in find_pictures([args.pictures]) if isinstance(item, Path)]
        result = (
            one_thread(bundle, pictures) if args.child == "one_thread" else all_cores(bundle, pictures, args.batch_size)
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(json.dumps(result | {"peak_memory_mib": peak}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.pictures or Path(temporary)
        if args.pictures is None:
            write_rendered(folder, args.cells)
        pictures = [item for item in find_pictures([folder]) if isinstance(item, Path)]
        report: dict[str, Any] = {
            "machine": describe_machine(),
            "cores": cpu_count(),
            "bundle": read_bundle(bundle).facts.name,
            "cells": len(pictures),
            "source": "rendered" if args.pictures is None else args.pictures.name,
            "one_thread": in_child("one_thread", bundle, folder, args.batch_size),
            "all_cores": in_child("all_cores", bundle, folder, args.batch_size),
            "cold_start": cold_start(bundle, pictures[0]),
        }
    text = json.dumps(report, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
