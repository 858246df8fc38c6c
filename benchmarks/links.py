"""Two hundred thousand links through `predict`: is memory flat?

    python benchmarks/links.py [--links 200000] [--out FILE.json]

Links to eight small pictures are answered for by a graph that can be worked out by hand, into a CSV with its journal,
as `predict --out` does it: what grows with the number of pictures shows. Resident memory is read at each tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundle_factory import disc, make_bundle
from leukoscope.inference.batch import find_pictures, run_batch
from leukoscope.inference.classifier import load


def resident() -> float:
    """Resident memory of this process, MB."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run it and print memory by tenths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--links", type=int, default=200_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(8):
            Image.fromarray(disc((40 + 25 * number, 100, 90), size=48, radius=15)).save(folder / f"{number}.png")
        (folder / "links").mkdir()
        for number in range(given.links):
            (folder / "links" / f"{number:06d}.png").symlink_to(folder / f"{number % 8}.png")
        classifier = load(make_bundle(folder / "bundle"), threads=2)
        pictures = find_pictures([folder / "links"])
        memory, done, start = [], 0, time.perf_counter()

        def progress(step: int) -> None:
            nonlocal done
            before, done = done, done + step
            if 10 * before // given.links < 10 * done // given.links:
                memory.append(round(resident(), 1))
                print(f"{done:,} links, {memory[-1]} MB", file=sys.stderr, flush=True)

        tally = run_batch(classifier, pictures, format="csv", out=folder / "out", progress=progress)
        rows = sum(1 for _ in (folder / "out" / "predictions.csv").open())
    found = {
        "links": given.links, "rows": rows - 1, "answers": dict(tally), "megabytes_by_tenth": memory,
        "growth_after_first_tenth_mb": round(memory[-1] - memory[0], 1),
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
