"""How much faster an epoch's frames come from the cache than from decoding and preparing every picture anew.

Both sides deliver the same batches of uint8 frames in the same shuffled order, copied into memory of their own as a
training step would need them, and are timed in turn, round after round, in one process. Decoding uses as many threads
as the cache is built with.

    python benchmarks/input_pipeline.py --out input_pipeline.json
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from _common import command_line
from leukoscope.cells.frame import Clahe, Preparation, prepare, resize_frame
from leukoscope.cells.read import read_picture
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import limit
from leukoscope.files import write_json
from leukoscope.machine import cpu_count, describe_machine

BATCH = 32


def render_cells(folder: Path, count: int) -> Manifest:
    """Plain discs with a noisy texture at the size of C-NMC 2019 pictures, as PNG files."""
    y, x = np.mgrid[:450, :450] - 225
    for number in range(count):
        rng = np.random.default_rng(number)
        inside = x**2 + y**2 < rng.integers(80, 130) ** 2
        rgb = np.where(inside[..., None], rng.integers(60, 240, (450, 450, 3)), 0).astype(np.uint8)
        path = folder / ("blast", "normal")[number % 2] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
    return read_dataset(folder)


def epoch_from_cache(frames: NDArray[np.uint8], order: NDArray[np.int64]) -> int:
    """All batches of an epoch, gathered from the memory map; returns a checksum."""
    return sum(int(frames[order[i : i + BATCH]].sum(dtype=np.uint64)) for i in range(0, len(order), BATCH))


def epoch_from_files(
    paths: list[Path], order: NDArray[np.int64], preparation: Preparation, size: int, jobs: int
) -> int:
    """The same batches, each picture decoded and prepared by a pool of threads; returns a checksum."""

    def frame(index: int) -> NDArray[np.uint8]:
        return resize_frame(prepare(read_picture(paths[index]).rgb, preparation), size)

    total = 0
    with ThreadPoolExecutor(jobs) as pool:
        for i in range(0, len(order), BATCH):
            total += int(np.stack(list(pool.map(frame, order[i : i + BATCH].tolist()))).sum(dtype=np.uint64))
    return total


def main() -> None:
    """Run both sides in turn and print the ratio of their median times."""
    real = Path(os.environ.get("LEUKOSCOPE_DATA") or Path(__file__).parents[2] / "shared" / "data") / "cnmc2019"
    given = command_line(  # cells are rendered where the data set is absent
        __doc__, data=real, pictures=512, rounds=5, input_size=224, clahe=False, jobs=cpu_count(), out=Path
    ).parse_args()
    preparation = Preparation(clahe=Clahe() if given.clahe else None)
    with tempfile.TemporaryDirectory() as folder:
        present = given.data.exists()
        manifest = read_dataset(given.data) if present else render_cells(Path(folder) / "cells", given.pictures)
        manifest = limit(manifest, given.pictures, seed=0)
        started = time.perf_counter()
        cache = open_cache(manifest, preparation, given.input_size, Path(folder) / "cache", jobs=given.jobs)
        build = time.perf_counter() - started
        paths = manifest.paths()
        seconds: dict[str, list[float]] = {"cache": [], "files": []}
        for turn in range(given.rounds):
            order = np.random.default_rng(turn).permutation(len(manifest))
            started = time.perf_counter()
            one = epoch_from_cache(cache.frames, order)
            middle = time.perf_counter()
            other = epoch_from_files(paths, order, preparation, given.input_size, given.jobs)
            seconds["cache"].append(middle - started)
            seconds["files"].append(time.perf_counter() - middle)
            if one != other:
                raise SystemExit("the two sides delivered different frames")
    medians = {side: float(np.median(times)) for side, times in seconds.items()}
    result = {
        "benchmark": "input_pipeline",
        "data": "rendered cells" if not present else "C-NMC 2019 cells" if "cnmc" in given.data.name else "own",
        "pictures": len(manifest),
        "input_size": given.input_size,
        "clahe": given.clahe,
        "jobs": given.jobs,
        "machine": describe_machine(),
        "build_seconds": build,
        "epoch_seconds": seconds,
        "median_epoch_seconds": medians,
        "ratio": medians["files"] / medians["cache"],
    }
    for side, what in (("files", "decoding every epoch"), ("cache", "frame cache")):
        print(f"{what:>22}: {medians[side]:.3f} s an epoch, {len(manifest) / medians[side]:,.0f} pictures/s")
    print(f"{'ratio':>22}: {result['ratio']:.1f} (building the cache once: {build:.2f} s)")
    if given.out is not None:
        write_json(given.out, result)


if __name__ == "__main__":
    main()
