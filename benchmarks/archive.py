"""An archive of links to real cells: local processes and Dask in turns, in one run.

    python benchmarks/archive.py --data DATA --pictures 20000 --out docs/figures/archive.json

Both engines start their workers here. Each round plans a new archive of the same links, runs it on one engine and
compares the collected rows byte for byte with those of the other. Processor seconds are those of all children; the
wall clock tells little where other work runs beside. The coordinator's memory is its own peak, without its workers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from leukoscope.machine import describe_machine

ENGINES = ("local", "dask")


_ASKED = """
import resource, sys
from leukoscope.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def leukoscope(*arguments: object) -> dict[str, float]:
    """Run a verb in a process of its own: seconds by clock and by processors, children's too, and its peak in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-c", _ASKED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(spent, 2),
        "peak_mb": round(int(done.stderr.split()[-1]) / 1024, 1),
    }


def linked(data: Path, folder: Path, count: int) -> Path:
    """A CSV of links to real cells, each cell several times where there are fewer."""
    cells = sorted(data.rglob("UID_*.webp")) or sorted(data.rglob("UID_*.bmp"))
    table = folder / "pictures.csv"
    with table.open("w") as file:
        file.write("path\n")
        file.writelines(f"{cells[number % len(cells)]}\n" for number in range(count))
    return table


def main() -> None:
    """Run, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    plans, collections, digests = [], [], set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = linked(args.data, folder, args.pictures)
        for _ in range(args.rounds):
            for engine in ENGINES:
                home, rows = folder / "archive", folder / "rows.jsonl"
                plans.append(leukoscope("archive", "plan", table, "--out", home))
                runs[engine].append(leukoscope("archive", "run", home, "--engine", engine, "--workers", args.workers))
                collections.append(leukoscope("archive", "collect", home, "--out", rows))
                digests.add(hashlib.sha256(rows.read_bytes()).hexdigest())
                parts = json.loads((home / "archive.json").read_text())["parts"]
                print(engine, runs[engine][-1], flush=True)
                shutil.rmtree(home)
    middle = {engine: statistics.median(run["cpu_s"] for run in runs[engine]) for engine in ENGINES}
    report: dict[str, Any] = {
        "command": f"python benchmarks/archive.py --data DATA --pictures {args.pictures} --rounds {args.rounds}",
        "machine": describe_machine(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "pictures": args.pictures,
        "parts": parts,
        "rows_alike": len(digests) == 1,
        "plan": plans,
        "runs": runs,
        "collect": collections,
        "dask_over_local_cpu": round(middle["dask"] / middle["local"], 3),
        "cpu_ms_per_picture": {engine: round(1e3 * spent / args.pictures, 3) for engine, spent in middle.items()},
    }
    print(f"rows alike: {report['rows_alike']}; Dask over local, processor time: {report['dask_over_local_cpu']}")
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
