"""An archive of links to real cells: local processes and Dask, killed workers, memory over a million, in one script.

    python benchmarks/archive.py --data DATA --pictures 20000 --out docs/figures/archive.json
    python benchmarks/archive.py --data DATA --pictures 1000000 --keep FOLDER --out docs/figures/archive_million.json
    python benchmarks/archive.py --data DATA --pictures 4000 --kills 20 --out docs/figures/archive_kills.json

The first plans a new archive of the same links for each engine in turns, runs it, compares the collected rows byte for
byte, and measures what a part costs the coordinator, by which it extrapolates to many cores on paper. With `--keep` one
archive is run by local processes and goes on where it was stopped; the memory of the coordinator and of its workers is
looked at all the while. With `--kills` workers are killed so many times, the coordinator some times, and two
coordinators work at once; the rows must be those of an undisturbed run. Processor seconds are those of all children: a
busy machine does not change them. The wall clock tells little where other work runs beside.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.archive.plan import PART_SIZE, Archive
from leukoscope.machine import describe_machine

ENGINES = ("local", "dask")
CORES = (2, 16, 256, 10_000)
SMALL_PART = 20  # pictures: of the run by which the coordinator's cost of a part is measured


_ASKED = """
import resource, sys
from leukoscope.cli import main
try:
    main(sys.argv[1:])
finally:
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(own.ru_maxrss, own.ru_utime + own.ru_stime, file=sys.stderr)
"""


def command_of(*arguments: object) -> list[str]:
    """A verb in a process of its own, that tells its peak and its processor time at the end."""
    return [sys.executable, "-c", _ASKED, *map(str, arguments)]


def leukoscope(*arguments: object) -> dict[str, float]:
    """Run a verb: seconds by clock and by processors, its own and with its children's, and its peak in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        command_of(*arguments), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, own = done.stderr.split()[-2:]
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "own_cpu_s": round(float(own), 2),
        "peak_mb": round(int(peak) / 1024, 1),
    }


def linked(data: Path, folder: Path, count: int) -> Path:
    """A CSV of links to real cells, each cell several times where there are fewer."""
    cells = sorted(data.rglob("UID_*.webp")) or sorted(data.rglob("UID_*.bmp"))
    table = folder / "pictures.csv"
    with table.open("w") as file:
        file.write("path\n")
        file.writelines(f"{cells[number % len(cells)]}\n" for number in range(count))
    return table


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def engines(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """Both engines in turns, and what a part costs their coordinators."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    plans, collections, digests, cost = [], [], set(), {}
    home, rows = folder / "archive", folder / "rows.jsonl"
    for _ in range(args.rounds):
        for engine in ENGINES:
            plans.append(leukoscope("archive", "plan", table, "--out", home))
            runs[engine].append(leukoscope("archive", "run", home, "--engine", engine, "--workers", args.workers))
            collections.append(leukoscope("archive", "collect", home, "--out", rows))
            digests.add(digest_of(rows))
            parts = Archive.open(home).planned.parts
            print(engine, runs[engine][-1], flush=True)
            shutil.rmtree(home)
    for engine in ENGINES:
        leukoscope("archive", "plan", table, "--out", home, "--part-size", SMALL_PART)
        small = Archive.open(home).planned.parts
        spent = leukoscope("archive", "run", home, "--engine", engine, "--workers", args.workers)
        leukoscope("archive", "collect", home, "--out", rows)
        digests.add(digest_of(rows))
        base = statistics.median(run["own_cpu_s"] for run in runs[engine])
        cost[engine] = 1e3 * (spent["own_cpu_s"] - base) / (small - parts)
        print(engine, f"{small} parts", spent, flush=True)
        shutil.rmtree(home)
    middle = {engine: statistics.median(run["cpu_s"] for run in runs[engine]) for engine in ENGINES}
    picture = {engine: spent / args.pictures for engine, spent in middle.items()}
    return {
        "parts": parts,
        "rows_alike": len(digests) == 1,
        "plan": plans,
        "runs": runs,
        "collect": collections,
        "dask_over_local_cpu": round(middle["dask"] / middle["local"], 3),
        "cpu_ms_per_picture": {engine: round(1e3 * each, 3) for engine, each in picture.items()},
        "pictures_per_core_second": {engine: round(1 / each, 1) for engine, each in picture.items()},
        "coordinator_cpu_ms_per_part": {engine: round(each, 2) for engine, each in cost.items()},
        "a_million_on_paper": {engine: on_paper(picture[engine], cost[engine] / 1e3) for engine in ENGINES},
    }


def on_paper(picture_s: float, part_s: float) -> list[dict[str, float]]:
    """Minutes for a million cells of parts of `PART_SIZE` on many cores, and the share of its core a coordinator needs.

    Every core works off whole parts one after the other; the coordinator deals them out one by one.
    """
    parts = math.ceil(1_000_000 / PART_SIZE)
    found = []
    for cores in CORES:
        work = math.ceil(parts / cores) * PART_SIZE * picture_s
        total = max(work, parts * part_s)
        share = part_s * min(cores, parts) / (PART_SIZE * picture_s)
        found.append({"cores": cores, "minutes": round(total / 60, 2), "coordinator_share": round(share, 4)})
    return found


class Watch(threading.Thread):
    """Looks at the memory of a process and of its workers while parts appear."""

    def __init__(self, coordinator: int, archive: Archive, every: float) -> None:
        super().__init__(daemon=True)
        self._coordinator, self._archive, self._every = coordinator, archive, every
        self.rows: list[
            tuple[int, float, float]
        ] = []  # pictures there, MB of the coordinator, MB of its largest worker
        self.ended = threading.Event()

    def run(self) -> None:
        """Until `ended` is set."""
        while not self.ended.wait(self._every):
            parts = sum(1 for _ in (self._archive.folder / "results").rglob("*.jsonl"))
            workers = [_memory(child) for child in workers_of(self._coordinator)]
            share = parts / max(1, self._archive.planned.parts)
            self.rows.append(
                (round(share * self._archive.planned.pictures), _memory(self._coordinator), max(workers, default=0))
            )


def _memory(process: int) -> float:
    try:
        told = Path(f"/proc/{process}/status").read_text()
        return int(told.split("VmRSS:")[1].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        return 0.0


def workers_of(parent: int) -> list[int]:
    """Worker processes of a process: spawned ones, not the tracker of their resources."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"PPid:\t{parent}\n" in (entry / "status").read_text():
                found += [int(entry.name)] if b"spawn_main" in (entry / "cmdline").read_bytes() else []
        except OSError:
            continue
    return found


def slope(rows: list[tuple[int, float, float]], column: int) -> float | None:
    """MB for each 100,000 pictures, by least squares over the later nine tenths; None where too little was seen."""
    last = rows[-1][0] if rows else 0
    kept = [row for row in rows if row[0] > 0.1 * last and row[column] > 0]
    if len(kept) < 10 or kept[0][0] == kept[-1][0]:
        return None
    return round(1e5 * float(np.polyfit([row[0] for row in kept], [row[column] for row in kept], 1)[0]), 3)


def million(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """One archive by local processes, gone on with where it was stopped, its memory looked at."""
    home = folder / "archive"
    plan = None if home.exists() else leukoscope("archive", "plan", table, "--out", home)
    archive = Archive.open(home)
    start, missing = time.perf_counter(), len(archive.missing())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.Popen(command_of("archive", "run", home, "--workers", args.workers), stderr=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL)  # fmt: skip
    watch = Watch(run.pid, archive, args.every)
    watch.start()
    code = run.wait()
    watch.ended.set()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    collected = leukoscope("archive", "collect", home, "--out", folder / "rows.jsonl")
    pictures = round(missing / archive.planned.parts * archive.planned.pictures)
    return {
        "parts": archive.planned.parts, "code": code, "plan": plan, "parts_of_this_run": missing,
        "wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(spent, 1),
        "pictures_per_core_second": round(pictures / spent, 1) if spent else None, "collect": collected,
        "looks": len(watch.rows),
        "mb_per_100000": {"coordinator": slope(watch.rows, 1), "worker": slope(watch.rows, 2)},
        "peak_mb": {"coordinator": round(max((row[1] for row in watch.rows), default=0), 1),
                    "worker": round(max((row[2] for row in watch.rows), default=0), 1)},
        "rows_sha256": digest_of(folder / "rows.jsonl"),
    }  # fmt: skip


def disturbed(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """Workers killed again and again, coordinators too, two at once, by both engines; rows against a plain run."""
    home, rows = folder / "archive", folder / "rows.jsonl"
    plan = ("archive", "plan", table, "--out", home, "--part-size", max(1, args.pictures // 100))
    leukoscope(*plan)
    leukoscope("archive", "run", home, "--workers", args.workers)
    leukoscope("archive", "collect", home, "--out", rows)
    plain = digest_of(rows)
    shutil.rmtree(home)
    found: dict[str, Any] = {}
    for engine in ENGINES:
        leukoscope(*plan)
        workers = coordinators = 0
        running: list[subprocess.Popen[bytes]] = []
        command = command_of("archive", "run", home, "--workers", args.workers, "--engine", engine)
        while True:
            archive = Archive.open(home)
            running = [each for each in running if each.poll() is None]
            done = sum(1 for _ in (home / "results").rglob("*.jsonl"))
            if not running and not archive.missing():
                break
            while len(running) < 2:  # two coordinators at once
                running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(0.2)
            if done > 2 * workers and workers < args.kills:
                for child in workers_of(running[workers % 2].pid)[:1]:
                    os.kill(child, signal.SIGKILL)
                    workers += 1
                if workers % 7 == 6:
                    running[0].kill()
                    coordinators += 1
        leukoscope("archive", "collect", home, "--out", rows)
        found[engine] = {
            "workers_killed": workers,
            "coordinators_killed": coordinators,
            "alike": digest_of(rows) == plain,
        }
        print(engine, found[engine], flush=True)
        shutil.rmtree(home)
    return found


def main() -> None:
    """Run, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Folder that keeps the archive: one run, gone on with.")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between looks at the memory.")
    parser.add_argument("--kills", type=int, default=0, help="How many workers of each engine to kill.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        work = million if args.keep else disturbed if args.kills else engines
        found = work(args, folder, linked(args.data, folder, args.pictures))
    told = (
        f" --rounds {args.rounds}" if work is engines else f" --kills {args.kills}" if args.kills else " --keep FOLDER"
    )
    report: dict[str, Any] = {
        "command": f"python benchmarks/archive.py --data DATA --pictures {args.pictures}{told}",
        "machine": describe_machine(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "pictures": args.pictures,
        **found,
    }
    print(json.dumps(report, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
