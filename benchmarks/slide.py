"""A synthetic slide of real fields, and what reading it costs.

    python benchmarks/slide.py --data DATA --gigapixels 1 --out docs/figures/slide.json
    python benchmarks/slide.py --data DATA --zones
    python benchmarks/slide.py --tiles FOLDER/slide-8.tif --out docs/figures/slide_tiles.json

The slide is a pyramid TIFF with tiles of JPEG. Its smear is an ellipse: a thick part (two fields on one another, their
transmittances multiplied), a single layer (fields of `bccd`, mirrored so that seams fit), and empty glass around it.
Blocks of 4096 px are made once and used again, so that a slide of 8 gigapixels takes minutes. The slide is then read by
`leukoscope slide` in a process of its own; seconds are those of its processor, which a busy machine does not change.
Of a run that goes on where it was stopped, the rate is that of the windows which it read itself. `--zones` prints what
a single layer and two cover, by which zones are told. `--tiles` draws tiles of a slide as the workbench does, at places
drawn by lot, and tells milliseconds of the processor by zoom.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray

from leukoscope.machine import describe_machine
from leukoscope.service import answers
from leukoscope.service.tiles import drawn_tile
from leukoscope.slides import survey
from leukoscope.slides.reading import ROWS
from leukoscope.slides.source import open_slide
from leukoscope.slides.survey import thumbnail_of
from leukoscope.smears.stain import ground_light

BLOCK, TILE, STEP, UM = 4096, 512, 4, 0.075  # pixels, pixels, between levels, um per pixel of `bccd` by its red cells
KINDS = ("empty", "single", "single", "single", "thick", "thick")


def fields(data: Path) -> list[NDArray[np.uint8]]:
    """Real fields, uint8 RGB [480, 640, 3]."""
    paths = sorted((data / "bccd").rglob("*.jpg"))
    found = [np.ascontiguousarray(np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1]) for path in paths]
    return [field for field in found if field.shape == (480, 640, 3)]


def mosaic(some: list[NDArray[np.uint8]], random: np.random.Generator) -> NDArray[np.uint8]:
    """One block of fields on one ground light, each mirrored against its neighbours."""
    light = np.array([200.0, 200.0, 200.0])
    out = np.zeros((BLOCK + 480, BLOCK + 640, 3), np.uint8)
    for row in range(math.ceil(BLOCK / 480)):
        for column in range(math.ceil(BLOCK / 640)):
            field = some[random.integers(len(some))]
            even = np.clip(field * (light / ground_light(field)), 0, 255).astype(np.uint8)
            out[480 * row : 480 * row + 480, 640 * column : 640 * column + 640] = even[
                :: -1 if row % 2 else 1, :: -1 if column % 2 else 1
            ]
    return out[:BLOCK, :BLOCK]


def blocks(data: Path) -> dict[str, list[list[NDArray[np.uint8]]]]:
    """For each kind some blocks, each with its lower levels."""
    random = np.random.default_rng(0)
    some = fields(data)
    found: dict[str, list[list[NDArray[np.uint8]]]] = {"empty": [], "single": [], "thick": []}
    for kind in KINDS:
        if kind == "empty":
            whole = np.clip(200 + random.normal(0, 1.5, (BLOCK, BLOCK, 3)), 0, 255).astype(np.uint8)
        else:
            whole = mosaic(some, random)
        if kind == "thick":
            whole = np.clip(whole.astype(np.float32) * mosaic(some, random)[::-1] / 200, 0, 255).astype(np.uint8)
        pyramid = [whole]
        while pyramid[-1].shape[0] > BLOCK // STEP**2:
            pyramid.append(
                np.asarray(cv2.resize(pyramid[-1], None, fx=1 / STEP, fy=1 / STEP, interpolation=cv2.INTER_AREA))
            )
        found[kind].append(pyramid)
    return found


def layout(gigapixels: float) -> list[list[tuple[str, int]]]:
    """Kind and number of each block: an ellipse, thick on its left."""
    columns = max(2, round(math.sqrt(gigapixels * 1e9 * 1.25) / BLOCK))
    rows = max(2, round(gigapixels * 1e9 / BLOCK**2 / columns))
    places = []
    for row in range(rows):
        line = []
        for column in range(columns):
            x, y = (column + 0.5) / columns * 2 - 1, (row + 0.5) / rows * 2 - 1
            kind = "empty" if (x / 0.95) ** 2 + (y / 0.8) ** 2 > 1 else "thick" if x < -0.2 else "single"
            line.append((kind, (7 * row + 3 * column) % KINDS.count(kind)))
        places.append(line)
    return places


def write_slide(data: Path, path: Path, gigapixels: float) -> tuple[int, int, float]:
    """Write the slide; its width and height, and the share of a single layer."""
    made, places = blocks(data), layout(gigapixels)
    rows, columns = len(places), len(places[0])
    packed = {
        (kind, number, level, place): simplejpeg.encode_jpeg(np.ascontiguousarray(part), 80, "RGB", "444")
        for kind, several in made.items()
        for number, pyramid in enumerate(several)
        for level, rgb in enumerate(pyramid)
        if rgb.shape[0] >= TILE
        for place, part in enumerate(_tiles(rgb))
    }
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(3):
            side = BLOCK // STEP**level
            shape = (rows * side, columns * side, 3)
            options: dict[str, Any] = {
                "tile": (TILE, TILE), "photometric": "ycbcr", "compression": "jpeg", "subsampling": (1, 1),
                "subfiletype": int(level > 0), "metadata": None, "resolution": (1e4 / (UM * STEP**level),) * 2,
                "resolutionunit": "CENTIMETER",
            }  # fmt: skip
            if side >= TILE:
                file.write(_packed(places, packed, level, side // TILE), shape=shape, dtype="uint8", **options)
            else:
                whole = np.concatenate([
                    np.concatenate([made[kind][number][level] for kind, number in line], axis=1) for line in places
                ])  # fmt: skip
                file.write(_encoded(whole), shape=shape, dtype="uint8", **options)
    share = sum(kind == "single" for line in places for kind, _ in line) / (rows * columns)
    return columns * BLOCK, rows * BLOCK, share


def _tiles(rgb: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, rgb.shape[0], TILE):
        for left in range(0, rgb.shape[1], TILE):
            yield rgb[top : top + TILE, left : left + TILE]


def _packed(places: Any, packed: Any, level: int, across: int) -> Iterator[bytes]:
    for line in places:
        for row in range(across):
            for kind, number in line:
                for column in range(across):
                    yield packed[kind, number, level, row * across + column]


def _encoded(rgb: NDArray[np.uint8]) -> Iterator[bytes]:
    for part in _tiles(rgb):
        tile = np.full((TILE, TILE, 3), 200, np.uint8)
        tile[: part.shape[0], : part.shape[1]] = part
        yield simplejpeg.encode_jpeg(tile, 80, "RGB", "444")


def read(path: Path, out: Path, bundle: str) -> dict[str, float]:
    """Run `leukoscope slide` in a process of one thread: seconds of its processor, and its peak in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = ["slide", str(path), "--out", str(out), "--bundle", bundle, "--threads", "1"]
    code = (
        "import resource, sys\nfrom leukoscope.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], stderr=subprocess.PIPE, text=True, check=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mb": round(int(done.stderr.split()[-1]) / 1024, 1),
    }


def read_before(out: Path) -> int:
    """Pixels of windows that an earlier run has read."""
    rows = [json.loads(path.read_text()) for path in (out / ROWS).glob("*.json")]
    return sum(window["pixels"] for row in rows for window in row["windows"])


def tiles(path: Path) -> dict[str, Any]:
    """What tiles of each zoom cost: of 12 places each, milliseconds of the processor, and the peak of memory."""
    slide = open_slide(path)
    full, thumbnail = slide.levels[0], path.parent / "thumbnail-of-tiles.jpg"
    cv2.imwrite(str(thumbnail), thumbnail_of(slide)[..., ::-1])
    slide.close()
    shown, random = answers.Shown(str(path), slide=True, thumbnail=str(thumbnail)), np.random.default_rng(0)
    last = answers.zooms(full.width, full.height) - 1
    drawn_tile(shown, last, 0, 0, 0)
    found = []
    for z in range(last + 1):
        side = answers.TILE * 2 ** (last - z)
        spent = []
        for _ in range(12):
            x, y = (int(random.integers(-(-length // side))) for length in (full.width, full.height))
            start = time.process_time()
            drawn_tile(shown, z, x, y, 0)
            spent.append(1e3 * (time.process_time() - start))
        found.append({"zoom": z, "median_ms": round(float(np.median(spent)), 1), "most_ms": round(max(spent), 1)})
    return {
        "width": full.width, "height": full.height, "zooms": found,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }  # fmt: skip


def zones(data: Path) -> None:
    """What one layer of real fields covers, and two: quantiles of both measures."""
    some = fields(data)
    even = [np.clip(field * (200 / ground_light(field)), 0, 255) for field in some]
    ground = np.full(3, 200.0)

    def coarse(rgb: NDArray[Any]) -> NDArray[np.float32]:
        small = cv2.resize(rgb.astype(np.uint8), None, fx=UM, fy=UM, interpolation=cv2.INTER_AREA)
        return survey.histogram_of(np.asarray(small, np.uint8), ground)

    one = [coarse(field) for field in even]
    two = [coarse(field * even[(number + 7) % len(even)][::-1] / 200) for number, field in enumerate(even)]
    single = float(np.median([survey.covered_by(each)[1] for each in one]))
    for name, several in (("one layer", one), ("two layers", two)):
        for measure, values in zip(
            ("covered", "overlapping"), zip(*(survey.shares(h, single) for h in several), strict=True), strict=True
        ):
            ends = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
            print(f"{name}, {measure}: least, 5 %, median, 95 %, most {np.round(ends, 2).tolist()} of {len(values)}")


def main() -> None:
    """Make, read, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--gigapixels", type=float, default=1.0)
    parser.add_argument("--bundle", default="light", help="Name or folder of the bundle.")
    parser.add_argument("--zones", action="store_true")
    parser.add_argument("--keep", type=Path, help="Folder that keeps the slide and its results; a stopped run goes on.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiles", type=Path, metavar="SLIDE", help="Tiles of this slide, as the workbench draws them.")
    args = parser.parse_args()
    about = {"machine": describe_machine(), "date": dt.datetime.now(dt.UTC).date().isoformat()}
    if args.tiles is not None:
        report = {"command": f"python benchmarks/slide.py --tiles {args.tiles.name}", **about, **tiles(args.tiles)}
        told_to(args.out, report)
        return
    if args.data is None:
        parser.error("--data is missing")
    if args.zones:
        zones(args.data)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        path, facts = folder / f"slide-{args.gigapixels:g}.tif", folder / f"slide-{args.gigapixels:g}.json"
        if not facts.exists():
            width, height, share = write_slide(args.data, path, args.gigapixels)
            facts.write_text(json.dumps([width, height, share]))
        width, height, share = json.loads(facts.read_text())
        print(f"{width} x {height} px, {path.stat().st_size / 1e6:,.0f} MB, single layer {share:.0%}", flush=True)
        before = read_before(folder / f"results-{args.gigapixels:g}")
        spent = read(path, folder / f"results-{args.gigapixels:g}", args.bundle)
        told = json.loads((folder / f"results-{args.gigapixels:g}/slide.json").read_text())
    report = {
        "command": f"python benchmarks/slide.py --data DATA --gigapixels {args.gigapixels:g} --bundle {args.bundle}",
        **about, "width": width,
        "height": height, "gigapixels": round(width * height / 1e9, 3), "share_single_layer": round(share, 3), **spent,
        "megapixels_read": round(told["pixels"] / 1e6), "megapixels_of_an_earlier_run": round(before / 1e6),
        "windows": told["windows"], "cells": told["decisions"], "red_cells": told["red_cells"],
        "ruler": told["map"]["ruler"],
        "read_megapixels_per_cpu_s": round((told["pixels"] - before) / 1e6 / spent["cpu_s"], 2),
    }  # fmt: skip
    told_to(args.out, report)


def told_to(out: Path | None, report: dict[str, Any]) -> None:
    """Print figures, and write them where wanted."""
    print(json.dumps(report, indent=1))
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
