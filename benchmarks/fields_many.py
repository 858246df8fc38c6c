"""1,000 fields through `leukoscope field`: progress, killed and gone on with, all cores, memory over time.

    python benchmarks/fields_many.py --data DIR --into FOLDER --out docs/figures/fields_many.json [--count 1000]

DIR holds bccd; its 364 fields are linked under other names until there are enough. The run is killed (SIGKILL to all of
its processes) after a third, then the same command is given again. Memory is the proportional set size of the command
and all its processes, sampled each second: shared pages are counted once.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from _common import Needed, command_line, report
from leukoscope._version import __version__
from leukoscope.machine import cpu_count, describe_machine


def linked(fields: list[Path], folder: Path, count: int) -> None:
    """``count`` links to the fields, ten to a folder, as if to a patient."""
    for number in range(count):
        link = folder / f"patient{number // 10:03d}" / f"{number:04d}{fields[0].suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(fields[number % len(fields)].resolve())


def session_memory(leader: int) -> float:
    """Proportional set size in MiB of all processes of one session."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, ValueError, IndexError):
            if os.getsid(int(entry.name)) == leader:
                text = (entry / "smaps_rollup").read_text(encoding="ascii")
                total += int(text.split("Pss:")[1].split()[0])
    return total / 1024


def watched(command: list[str], done: Path, stop_at: int | None) -> dict[str, Any]:
    """Run a command in a session of its own; sample memory and how many fields are done; kill all of it at a number."""
    start = time.perf_counter()
    samples: list[tuple[int, float]] = []
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while process.poll() is None:
            time.sleep(1)
            count = sum(1 for _ in done.glob("*.json"))
            samples.append((count, session_memory(process.pid)))
            if stop_at is not None and count >= stop_at:
                break
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    _, told = process.communicate()
    return {
        "exit_code": process.returncode,
        "wall_s": round(time.perf_counter() - start, 1),
        "samples": samples,
        "told": told.decode(errors="replace").strip().splitlines()[:1],
    }


def memory_over(samples: list[tuple[int, float]], parts: int = 4) -> list[dict[str, float]]:
    """Median and largest memory in MiB by parts of the run in order of fields done; start and end are left out."""
    working = [sample for sample in samples if sample[0] > 0 and sample[1] > 0][3:-3]
    found = []
    for part in np.array_split(np.arange(len(working)), parts):
        values = [working[i][1] for i in part]
        if values:
            found.append(
                {
                    "from_field": working[part[0]][0],
                    "median_mib": round(float(np.median(values))),
                    "max_mib": round(float(max(values))),
                }
            )
    return found


def main() -> None:
    """Run, kill, run again, and write the figures."""
    args = command_line(__doc__, data=Needed(), into=Needed(), out=Needed(), count=1000).parse_args()
    pictures, results = args.into / "pictures", args.into / "results"
    linked(sorted((args.data / "bccd" / "JPEGImages").glob("*.jpg")), pictures, args.count)
    command = [sys.executable, "-m", "leukoscope", "field", str(pictures), "--out", str(results), "--by", "patient"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    killed = watched(command, results / "fields", args.count // 3)
    kept = len(list((results / "fields").glob("*.json")))
    torn = sum(
        1 for path in (results / "fields").glob("*.json") if not path.read_text(encoding="utf-8").endswith("}\n")
    )
    resumed = watched(command, results / "fields", None)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = (results / "cells.csv").read_text(encoding="utf-8").count("\n") - 1
    figures = {
        "version": __version__,
        "machine": describe_machine(),
        "processes": cpu_count(),
        "fields": args.count,
        "killed_after": kept,
        "torn_files_after_the_kill": torn,
        "second_run": {"exit_code": resumed["exit_code"], "told": resumed["told"]},
        "cells": rows,
        "wall_s": [killed["wall_s"], resumed["wall_s"]],
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "memory_of_all_processes": memory_over(resumed["samples"]),
    }
    report(figures, args.out)


if __name__ == "__main__":
    main()
