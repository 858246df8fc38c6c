"""Ten thousand damaged picture files: each gives a picture or one clear line, in bounded time and memory.

    python benchmarks/fuzz_pictures.py --files 10000 --seed 0

Sound files of five formats, made here with a fixed seed, are altered: bytes changed, words of a header set to extreme
values, parts cut off or doubled. Each is decoded by a process with a bound on its memory; a file that crashes it, takes
longer than five seconds, needs more memory, ends in any error but `PictureError` or makes anything write to the
terminal is a fault, and is counted with its number, from which it can be made again.

Run with seed 0: 10,000 files, no fault; 1,971 are still pictures, 8,029 are refused in a line; the slowest took 15 ms.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from leukoscope.cells.read import decode
from leukoscope.errors import PictureError

FORMATS = ("BMP", "PNG", "JPEG", "TIFF", "WEBP")
LONGEST = 5.0  # seconds for one file
MOST_MEMORY = 1 << 30  # bytes of address space beyond what the process has once it is ready
MAX_PIXELS = 4_000_000
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> dict[str, list[bytes]]:
    """Sound files of each format."""
    rng = np.random.default_rng(0)
    rgb = np.zeros((120, 140, 3), np.uint8)
    cv2.circle(rgb, (70, 60), 45, (110, 70, 150), -1)
    rgb[40:80, 50:90] += rng.integers(0, 60, (40, 40, 3), dtype=np.uint8)
    alpha = np.dstack([rgb, np.where(rgb.any(axis=2), 255, 0).astype(np.uint8)])
    grey, deep = rgb[..., 1].copy(), rgb[..., 1].astype(np.uint16) * 257
    palette = Image.fromarray(rgb).quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "BMP": [_encoded(rgb, "BMP"), _encoded(grey, "BMP"), _encoded(palette, "BMP"), _encoded(alpha, "BMP")],
        "PNG": [_encoded(x, "PNG", exif=exif) for x in (rgb, grey, alpha, deep, palette)],
        "JPEG": [_encoded(rgb, "JPEG", exif=exif), _encoded(rgb, "JPEG", progressive=True), _encoded(grey, "JPEG"),
                 _encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG")],
        "TIFF": [_encoded(x, "TIFF", compression=packing, big_tiff=big)
                 for x in (rgb, alpha, deep, palette) for packing in ("raw", "tiff_lzw", "tiff_deflate", "packbits")
                 for big in (False, True)] + [_encoded(rgb, "TIFF", compression="jpeg")],
        "WEBP": [_encoded(rgb, "WEBP", exif=exif), _encoded(alpha, "WEBP"), _encoded(rgb, "WEBP", lossless=True)],
    }  # fmt: skip


def _encoded(picture: Any, kind: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def altered(number: int, seed: int, sound: dict[str, list[bytes]]) -> tuple[str, bytes]:
    """The file of this number: its format and its bytes."""
    rng = np.random.default_rng((seed, number))
    kind = FORMATS[number % len(FORMATS)]
    data = bytearray(sound[kind][rng.integers(len(sound[kind]))])
    for _ in range(int(rng.integers(1, 6))):
        end = len(data) if rng.random() < 0.5 else min(len(data), 128)
        if kind == "TIFF" and rng.random() < 0.5:  # its tags lie at the end
            end = 0
        place = int(rng.integers(max(1, len(data) - 250), len(data)) if not end else rng.integers(0, end))
        way = rng.integers(5)
        if way == 0:
            data[place] = int(rng.integers(256))
        elif way == 1:
            data[place] ^= 1 << int(rng.integers(8))
        elif way == 2:
            size = int(rng.choice([2, 4]))
            value = int(rng.choice(_EXTREME)) & (256**size - 1)
            data[place : place + size] = value.to_bytes(size, str(rng.choice(["little", "big"])))  # type: ignore[arg-type]
        elif way == 3:
            del data[place : place + int(rng.integers(1, 64))]
        else:
            part = data[place : place + int(rng.integers(1, 64))]
            where = int(rng.integers(0, len(data)))
            data[where:where] = part
        if len(data) < 8:
            break
    if rng.random() < 0.2:
        data = data[: int(rng.integers(0, len(data) + 1))]
    mended = rng.random() < 0.5  # else nearly every PNG would end at its first checksum
    return kind, _checksummed(bytes(data)) if kind == "PNG" and mended else bytes(data)


def _checksummed(data: bytes) -> bytes:
    """A PNG whose checksums are right again, as far as its chunks can be followed."""
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        end = place + 8 + int.from_bytes(out[place : place + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(out)


def _work(pipe: Any, seed: int, log: str) -> None:
    """Decode files by their number until told to stop; standard error goes into a file."""
    sound = seeds()
    for files in sound.values():
        for data in files:
            decode(data, name="sound", max_pixels=MAX_PIXELS)  # each decoder once, before memory is bounded
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, now + MOST_MEMORY))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    while True:
        number = pipe.recv()
        kind, data = altered(number, seed, sound)
        before, start = os.fstat(handle).st_size, time.perf_counter()
        try:
            rgb = decode(data, name="a file", max_pixels=MAX_PIXELS)
            outcome = "read" if rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 else "no picture"
        except PictureError as error:
            line = str(error)
            outcome = "refused" if line.isprintable() and error.remedy else "no clear line"
            if isinstance(error.__cause__, MemoryError):
                outcome = "too much memory"
        except BaseException as error:  # noqa: BLE001  (that is what is looked for)
            outcome = f"{type(error).__name__}"
        seconds = time.perf_counter() - start
        sys.stderr.flush()
        if os.fstat(handle).st_size > before:
            outcome = "wrote to the terminal"
        pipe.send((kind, outcome, seconds))


def fuzz(files: int, seed: int = 0, *, first: int = 0) -> dict[str, Any]:
    """Decode so many altered files; the counts, and every fault with its number."""
    context = mp.get_context("spawn")
    counts = {kind: Counter[str]() for kind in FORMATS}
    faults: list[dict[str, Any]] = []
    slowest, process, pipe = 0.0, None, None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + files):
            if process is None or not process.is_alive():
                pipe, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, seed, f"{folder}/log"), daemon=True)
                process.start()
                theirs.close()
                patience = 60.0  # it has to start first
            assert pipe is not None
            pipe.send(number)
            try:
                kind, outcome, seconds = pipe.recv() if pipe.poll(LONGEST + patience) else ("", "hang", LONGEST)
            except EOFError:
                kind, outcome, seconds = "", "crash", 0.0
            patience = 0.0
            if outcome in {"hang", "crash"}:
                process.kill()
                process.join()
                process = None
            kind = kind or FORMATS[number % len(FORMATS)]
            outcome = "hang" if seconds > LONGEST else outcome
            counts[kind][outcome] += 1
            slowest = max(slowest, seconds)
            if outcome not in {"read", "refused"}:
                faults.append({"number": number, "format": kind, "outcome": outcome})
        if process is not None:
            process.kill()
            process.join()
    return {
        "files": files, "seed": seed, "faults": faults, "slowest_seconds": round(slowest, 3),
        "by_format": {kind: dict(sorted(each.items())) for kind, each in counts.items()},
    }  # fmt: skip


def main() -> None:
    """Run it and print the counts; exit 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = fuzz(given.files, given.seed, first=given.first)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
