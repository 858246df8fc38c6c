"""An archive of links to real cells: local processes and Dask, killed workers, memory over a million, in one script.

    python benchmarks/archive.py --data DATA --pictures 20000 --out docs/figures/archive.json
    python benchmarks/archive.py --data DATA --pictures 1000000 --keep FOLDER --out docs/figures/archive_million.json
    python benchmarks/archive.py --data DATA --pictures 4000 --kills 20 --out docs/figures/archive_kills.json
    python benchmarks/archive.py --data DATA --pictures 1600 --scaling --out docs/figures/archive_workers.json
    python benchmarks/archive.py --curve docs/figures/archive_workers.json --picture docs/pictures/archive.svg

The first plans a new archive of the same links for each engine in turns, runs it, compares the collected rows byte for
byte, and measures what a part costs the coordinator, by which it extrapolates to many cores on paper. With `--keep` one
archive is run by local processes and goes on where it was stopped; the memory of the coordinator and of its workers is
looked at all the while. With `--kills` workers are killed so many times, the coordinator some times, and two
coordinators work at once; the rows must be those of an undisturbed run. `--scaling` runs both engines with 1, 2 and 4
workers, and with parts a fifth as large: what a picture costs beside others, and what a part costs its coordinator;
`--curve` draws what follows for many cores. Processor seconds are those of all children: a busy machine does not change
them. The wall clock tells little where other work runs beside.
"""

from __future__ import annotations

import argparse
import datetime as dt
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
from leukoscope.files import sha256_of
from leukoscope.machine import describe_machine

ENGINES = ("local", "dask")
CORES = (2, 16, 256, 10_000)
ONE_MACHINE = 256  # cores: larger ones are not drawn for local processes
WORKERS = (1, 2, 4)
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


def engines(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """Both engines in turns, and what a part costs their coordinators."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    plans, collections, digests, cost = [], [], set(), {}
    home, rows = folder / "archive", folder / "rows.jsonl"
    for _ in range(args.rounds):
        for engine in ENGINES:
            plans.append(leukoscope("archive", "plan", table, "--bundle", args.bundle, "--out", home))
            runs[engine].append(leukoscope("archive", "run", home, "--engine", engine, "--workers", args.workers))
            collections.append(leukoscope("archive", "collect", home, "--replace", "--out", rows))
            digests.add(sha256_of(rows))
            parts = Archive.open(home).planned.parts
            print(engine, runs[engine][-1], flush=True)
            shutil.rmtree(home)
    for engine in ENGINES:
        leukoscope("archive", "plan", table, "--bundle", args.bundle, "--out", home, "--part-size", SMALL_PART)
        small = Archive.open(home).planned.parts
        spent = leukoscope("archive", "run", home, "--engine", engine, "--workers", args.workers)
        leukoscope("archive", "collect", home, "--replace", "--out", rows)
        digests.add(sha256_of(rows))
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


def scaling(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """What a picture costs with 1, 2 and 4 workers, in turns, and a part its coordinator, by both engines.

    The cost of a picture is that of all of them less that of a quarter, by the pictures between: what starts once, or
    once for each worker, is not counted as theirs. That of a part is the coordinator's, with parts a fifth as large.
    """
    few = folder / "few.csv"
    few.write_text("".join(table.read_text().splitlines(keepends=True)[: 1 + args.pictures // 4]))
    home, rows = folder / "archive", folder / "rows.jsonl"
    spent: dict[tuple[str, int, int, int], list[dict[str, float]]] = {}
    digests: dict[Path, set[str]] = {table: set(), few: set()}
    whole = args.pictures // (4 * max(WORKERS))  # a quarter has a part for each worker, too
    small = max(1, whole // 5)
    ways = [(engine, workers, whole, which) for engine in ENGINES for workers in WORKERS for which in (table, few)]
    ways += [(engine, 2, small, table) for engine in ENGINES]
    for _ in range(args.rounds):
        for engine, workers, size, which in ways:
            leukoscope("archive", "plan", which, "--bundle", args.bundle, "--out", home, "--part-size", size)
            planned = Archive.open(home).planned
            run = leukoscope("archive", "run", home, "--engine", engine, "--workers", workers)
            spent.setdefault((engine, workers, size, planned.pictures), []).append(run | {"parts": planned.parts})
            leukoscope("archive", "collect", home, "--replace", "--out", rows)
            digests[which].add(sha256_of(rows))
            shutil.rmtree(home)
            print(engine, workers, size, planned.pictures, run, flush=True)
    most, least = args.pictures, args.pictures // 4
    told = {}
    for engine in ENGINES:
        picture = {
            w: (_least(spent[engine, w, whole, most], "cpu_s") - _least(spent[engine, w, whole, least], "cpu_s"))
            / (most - least)
            for w in WORKERS
        }
        large, tiny = spent[engine, 2, whole, most], spent[engine, 2, small, most]
        part = (_least(tiny, "own_cpu_s") - _least(large, "own_cpu_s")) / (tiny[0]["parts"] - large[0]["parts"])
        told[engine] = {
            "cpu_ms_per_picture_by_workers": {w: round(1e3 * each, 3) for w, each in picture.items()},
            "most_over_least": round(max(picture.values()) / min(picture.values()), 3),
            "coordinator_cpu_ms_per_part": round(1e3 * part, 2),
            "a_million_on_paper": on_paper(max(picture.values()), max(part, 0.0)),
        }
    runs = [
        {"engine": engine, "workers": workers, "part_size": size, "pictures": pictures, "runs": each}
        for (engine, workers, size, pictures), each in spent.items()
    ]
    return {"rows_alike": all(len(each) == 1 for each in digests.values()), "engines": told, "runs": runs}


def _least(runs: list[dict[str, float]], what: str) -> float:
    return min(run[what] for run in runs)


def curve(figures: Path) -> str:
    """Minutes for a million cells against cores, both engines, as a drawing; ideal is a straight line."""
    told = json.loads(figures.read_text())["engines"]
    left, top, width, height = 70, 20, 520, 300
    x = [math.log10(cores) for cores in CORES]

    def at(cores: float, minutes: float) -> str:
        across = left + width * (math.log10(cores) - x[0]) / (x[-1] - x[0])
        return f"{across:.1f},{top + height * (2 - math.log10(max(minutes, 0.01))) / 4:.1f}"

    lines = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>']
    for minutes in (100, 10, 1, 0.1, 0.01):
        _, y = at(2, minutes).split(",")
        lines.append(f'<text x="{left - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{minutes:g}</text>')
        lines.append(f'<path d="M{left},{y}h{width}" stroke="#ddd"/>')
    for cores in CORES:
        place, _ = at(cores, 1).split(",")
        lines.append(f'<text x="{place}" y="{top + height + 18}" text-anchor="middle">{cores:,}</text>')
    for engine, colour, dash in (("local", "#b45309", ""), ("dask", "#1d62b0", "7 4")):
        rows = [
            each for each in told[engine]["a_million_on_paper"] if engine != "local" or each["cores"] <= ONE_MACHINE
        ]
        points = " ".join(at(row["cores"], row["minutes"]) for row in rows)
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        )
    first = told["local"]["a_million_on_paper"][0]
    ideal = [at(cores, first["minutes"] * first["cores"] / cores) for cores in (CORES[0], CORES[-1])]
    lines.append(f'<polyline points="{" ".join(ideal)}" fill="none" stroke="#777" stroke-dasharray="2 3"/>')
    for above, words, colour in ((40, "local processes", "#b45309"), (58, "Dask (dashed)", "#1d62b0"),
                             (76, "twice the cores, half the time (dotted)", "#555")):  # fmt: skip
        lines.append(f'<text x="{left + width - 10}" y="{above}" text-anchor="end" fill="{colour}">{words}</text>')
    lines.append(f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">cores</text>')
    lines.append(f'<text x="16" y="{top + height / 2}" transform="rotate(-90 16 {top + height / 2})" '
                 'text-anchor="middle">minutes for a million cells</text>')  # fmt: skip
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 370" font-family="sans-serif" font-size="13">\n'
            '<rect width="620" height="370" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n")  # fmt: skip


def on_paper(picture_s: float, part_s: float) -> list[dict[str, float]]:
    """Minutes for a million cells on many cores, and the share of its core a coordinator needs.

    Parts are of `PART_SIZE`, or smaller where there would be fewer than two for each core. Every core works off whole
    parts one after the other; the coordinator deals them out one by one.
    """
    found = []
    for cores in CORES:
        size = min(PART_SIZE, math.ceil(1_000_000 / (2 * cores)))
        parts = math.ceil(1_000_000 / size)
        work = math.ceil(parts / cores) * size * picture_s
        total = max(work, parts * part_s)
        share = part_s * min(cores, parts) / (size * picture_s)
        found.append(
            {"cores": cores, "part_size": size, "minutes": round(total / 60, 3), "coordinator_share": round(share, 4)}
        )
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
    plan = None if home.exists() else leukoscope("archive", "plan", table, "--bundle", args.bundle, "--out", home)
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
    collected = leukoscope("archive", "collect", home, "--replace", "--out", folder / "rows.jsonl")
    pictures = round(missing / archive.planned.parts * archive.planned.pictures)
    return {
        "parts": archive.planned.parts, "code": code, "plan": plan, "parts_of_this_run": missing,
        "wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(spent, 1),
        "pictures_per_core_second": round(pictures / spent, 1) if spent else None, "collect": collected,
        "looks": len(watch.rows),
        "mb_per_100000": {"coordinator": slope(watch.rows, 1), "worker": slope(watch.rows, 2)},
        "peak_mb": {"coordinator": round(max((row[1] for row in watch.rows), default=0), 1),
                    "worker": round(max((row[2] for row in watch.rows), default=0), 1)},
        "rows_sha256": sha256_of(folder / "rows.jsonl"),
    }  # fmt: skip


def disturbed(args: argparse.Namespace, folder: Path, table: Path) -> dict[str, Any]:
    """Workers killed again and again, coordinators too, two at once, by both engines; rows against a plain run."""
    home, rows = folder / "archive", folder / "rows.jsonl"
    size = max(1, args.pictures // 100)
    plan = ("archive", "plan", table, "--bundle", args.bundle, "--out", home, "--part-size", size)
    leukoscope(*plan)
    leukoscope("archive", "run", home, "--workers", args.workers)
    leukoscope("archive", "collect", home, "--replace", "--out", rows)
    plain = sha256_of(rows)
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
        leukoscope("archive", "collect", home, "--replace", "--out", rows)
        found[engine] = {
            "workers_killed": workers,
            "coordinators_killed": coordinators,
            "alike": sha256_of(rows) == plain,
        }
        print(engine, found[engine], flush=True)
        shutil.rmtree(home)
    return found


def main() -> None:
    """Run, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--bundle", default="light", help="Name or folder of the bundle.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Folder that keeps the archive: one run, gone on with.")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between looks at the memory.")
    parser.add_argument("--kills", type=int, default=0, help="How many workers of each engine to kill.")
    parser.add_argument("--scaling", action="store_true", help="Both engines with 1, 2 and 4 workers.")
    parser.add_argument("--curve", type=Path, help="Figures of --scaling, to be drawn.")
    parser.add_argument("--picture", type=Path, help="Where --curve draws.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.curve is not None:
        (args.picture or args.curve.with_suffix(".svg")).write_text(curve(args.curve))
        return
    if args.data is None:
        parser.error("--data is missing")
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        work = million if args.keep else disturbed if args.kills else scaling if args.scaling else engines
        found = work(args, folder, linked(args.data, folder, args.pictures))
    told = " --keep FOLDER" if args.keep else f" --kills {args.kills}" if args.kills else f" --rounds {args.rounds}"
    if args.scaling:
        told = f" --scaling{told}"
    report: dict[str, Any] = {
        "command": f"python benchmarks/archive.py --data DATA --pictures {args.pictures} --bundle {args.bundle}{told}",
        "machine": describe_machine(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "pictures": args.pictures,
        "bundle": args.bundle,
        **found,
    }
    print(json.dumps(report, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
