"""Time of the candidate search against the number of pictures, on replicated and disturbed fingerprints.

python benchmarks/audit_scaling.py WORK_FOLDER_OF_AN_AUDIT --out scaling.json
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import numpy as np

from _common import command_line
from leukoscope.datasets.leaks.candidates import find_candidates, near_turns
from leukoscope.files import write_json


def main() -> None:
    """Measure and fit."""
    options = command_line(
        __doc__, "work", out=Path("audit_scaling.json"), sizes=(1500, 3000, 6000, 12000, 24000)
    ).parse_args()
    parts = []
    for path in sorted(options.work.glob("facts-*.npz")):
        with np.load(path) as part:
            parts.append(part["prints"].astype(np.float32))
    prints = np.concatenate(parts)
    prints = prints[np.abs(prints).sum(axis=(1, 2)) > 0]
    random = np.random.default_rng(0)
    rows = []
    for size in options.sizes:
        chosen = prints[np.arange(size) % len(prints)]
        chosen = chosen + 0.5 * random.normal(size=chosen.shape).astype(np.float32)
        wall, cpu = time.perf_counter(), time.process_time()
        found = find_candidates(chosen, np.arange(size) // 100, near_turns())
        row = {
            "pictures": size,
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "candidates": len(found.first),
            "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    n = np.array([row["pictures"] for row in rows], float)
    t = np.array([row["cpu_seconds"] for row in rows])
    (square, line), *_ = np.linalg.lstsq(np.stack([n**2, n], axis=1) / t[:, None], np.ones(len(n)), rcond=None)
    forecast = {str(m): float(square * m**2 + line * m) for m in (100_000, 1_000_000)}
    write_json(options.out, {"measured": rows, "seconds_per_pair": square, "forecast_cpu_seconds": forecast})
    print(json.dumps(forecast))


if __name__ == "__main__":
    main()
