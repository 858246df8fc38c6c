"""What `predict` costs beside an earlier state of this repository, both in one run, in turns.

    python benchmarks/before.py [--commit 10fd772~1] [--own-bundles] [--cells 200] [--rounds 7]
        [--out FILE.json]

The earlier source is taken from the repository into a temporary folder; both sides answer with its bundle, or each with
its own. Rendered cells of 450 px, as BMP and as PNG, go through `predict --threads 1` as a user gives it, once one
cell and once all of them: processor time of the process, from its start to its end. What the further cells cost is that
of the cells; the rest is the start. Ratios are new over old: their mean over the rounds, and 5 % and 95 % quantiles.

The commit that stands above is the last one before what docs/reliability.md promises was built.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _common import command_line, load_of_machine, report, spread
from leukoscope.bundle.read import default_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.machine import describe_machine

HOME = Path(__file__).parents[1]
KINDS = ("bmp", "png")


def earlier(commit: str, folder: Path) -> Path:
    """The source of a commit, in a folder."""
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=HOME, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def spent(side: tuple[Path, Path], pictures: Path) -> float:
    """Processor seconds of one `predict` of a source with a bundle."""
    source, bundle = side
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "leukoscope", "predict", str(pictures), "--format", "csv", "--threads", "1"]
    command += ["--bundle", str(bundle)]
    subprocess.run(
        command, check=True, capture_output=True, cwd=pictures,
        env=os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(
    old: tuple[Path, Path], new: tuple[Path, Path], one: Path, many: Path, cells: int, rounds: int
) -> dict[str, Any]:
    """Milliseconds of both sides, and their ratios, of pictures of one kind."""
    rows: dict[str, list[tuple[float, float]]] = {"start": [], "cell": [], "command": []}
    for number in range(rounds + 1):
        sides = (old, new) if number % 2 else (new, old)
        found = {side: (spent(side, one), spent(side, many)) for side in sides}
        if number == 0:
            continue  # the first round warms up: bytecode is written, files are read from the disk
        (a_one, a_many), (b_one, b_many) = found[old], found[new]
        rows["start"].append((a_one, b_one))
        rows["cell"].append(((a_many - a_one) / (cells - 1), (b_many - b_one) / (cells - 1)))
        rows["command"].append((a_many, b_many))
    return {
        name: {
            "old_ms": round(1e3 * float(np.median([a for a, _ in pairs])), 2),
            "new_ms": round(1e3 * float(np.median([b for _, b in pairs])), 2),
            "ratio": spread([b / a for a, b in pairs]),
        }
        for name, pairs in rows.items()
    }


def main() -> None:
    """Measure and print JSON."""
    args = command_line(__doc__, commit="10fd772~1", own_bundles=False, cells=200, rounds=7, out=Path).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        source = earlier(args.commit, place)
        bundle = next(source.rglob("bundle.json")).parent
        old, new = (source, bundle), (HOME / "src", default_bundle() if args.own_bundles else bundle)
        figures: dict[str, Any] = {
            "machine": describe_machine(), "load": load_of_machine(), "commit": args.commit,
            "own_bundles": args.own_bundles, "cells": args.cells,
        }  # fmt: skip
        pictures = [render_cell(seed, "blast" if seed % 2 else "normal") for seed in range(args.cells)]
        for kind in KINDS:
            one, many = place / f"one-{kind}", place / f"many-{kind}"
            for folder, some in ((one, pictures[:1]), (many, pictures)):
                folder.mkdir()
                for number, rgb in enumerate(some):
                    Image.fromarray(rgb).save(folder / f"{number:04d}.{kind}")
            figures[kind] = compared(old, new, one, many, args.cells, args.rounds)
    report(figures, args.out)


if __name__ == "__main__":
    main()
