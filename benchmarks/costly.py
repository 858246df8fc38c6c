"""Pictures that cost much: time and memory of `predict` on each, from its start to its end.

    python benchmarks/costly.py [--cases NAME ...] [--out FILE.json]

Progressive JPEGs of 3,000 and 20,000 scans, one of ten scans of 90 million pixels, a TIFF of chained directories, a PNG
of 1 x 100,000,000, sixteen copies of a WebP of 34 bytes and 10,000 x 10,000 pixels, and sixteen fields of 36 million
pixels. Memory is that of the process and of the decoder's together, looked at every 20 ms; beside it stand the answers
and, for the last two, how long Ctrl-C takes five seconds after the start.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _common import command_line, load_of_machine, report
from _fuzz_pictures import checksummed
from leukoscope.cells.checked import jpeg_scans
from leukoscope.datasets.synthetic import render_cell

PAGE = os.sysconf("SC_PAGE_SIZE")
HEARS = """
import signal
from leukoscope.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background is deaf to it
main()
"""
Files = list[tuple[str, bytes]]


def progressive(scans: int) -> Files:
    """A JPEG of 1,024 x 1,024 px whose last scan, emptied, stands there again and again."""
    data = _jpeg(np.zeros((1024, 1024, 3), np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return [("scans.jpg", data[:last] + (scans - jpeg_scans(data, "") + 1) * data[last:-2] + data[-2:])]


def large_progressive() -> Files:
    """A sound JPEG of 9,500 x 9,500 px in ten scans."""
    rng = np.random.default_rng(0)
    rgb = np.asarray(Image.fromarray(rng.integers(0, 256, (475, 475, 3), dtype=np.uint8)).resize((9500, 9500)))
    return [("large.jpg", _jpeg(rgb, progressive=True))]


def _jpeg(rgb: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", **options)
    return file.getvalue()


def directories() -> Files:
    """A TIFF whose thousand directories list the same 64 kB again and again."""
    body, pages, offset = bytes(2**16), b"", 8 + 2**16
    for number in range(999):
        tags = [(256, 1, 64), (257, 1, 64), *((40_000 + k, len(body), 8) for k in range(8))]
        listed = b"".join(struct.pack("<HHII", tag, 7 if count > 1 else 4, count, value) for tag, count, value in tags)
        following = offset + len(pages) + 2 + len(listed) + 4
        pages += struct.pack("<H", len(tags)) + listed + struct.pack("<I", following if number < 998 else 0)
    return [("directories.tif", b"II*\0" + struct.pack("<I", offset) + body + pages)]


def long_side() -> Files:
    """A PNG of 1 x 100,000,000 px."""
    file = io.BytesIO()
    Image.new("L", (1, 60_000)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[20:24] = struct.pack(">I", 100_000_000)
    return [("long.png", checksummed(bytes(data)))]


def webps() -> Files:
    """Sixteen WebPs of 34 bytes: lossless, with five codes of one symbol, which take no bit a pixel."""
    bits = 0x2F | (9999 << 8) | (9999 << 22)  # signature, width and height less one
    place = 8 + 28 + 1 + 3 + 3  # alpha, version; no transform, no cache, no further codes
    for _ in range(5):
        bits |= 1 << place  # a simple code of one symbol, which is 0
        place += 4
    packed = bits.to_bytes(14, "little")
    chunk = b"VP8L" + struct.pack("<I", len(packed)) + packed
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return [(f"{number}.webp", data) for number in range(16)]


def fields() -> Files:
    """Sixteen fields of 7,360 x 4,912 px, light with drawn cells, each other than the last."""
    found = []
    for number in range(16):
        rgb = np.full((4912, 7360, 3), (225, 215, 220), np.uint8)
        rng = np.random.default_rng(number)
        for seed in range(20):
            cell = render_cell(seed, "blast" if seed % 2 else "normal")
            top, left = int(rng.integers(0, 4912 - 450)), int(rng.integers(0, 7360 - 450))
            part = rgb[top : top + 450, left : left + 450]
            part[:] = np.where(cell.any(axis=2, keepdims=True), cell, part)
        found.append((f"{number}.jpg", _jpeg(rgb, quality=90)))
    return found


CASES: dict[str, Callable[[], Files]] = {
    "3,000 scans": lambda: progressive(3000), "20,000 scans": lambda: progressive(20_000),
    "ten scans of 90 million": large_progressive, "TIFF directories": directories, "PNG 1 x 100,000,000": long_side,
    "16 WebPs of 34 bytes": webps, "16 fields of 36 million": fields,
}  # fmt: skip


def _tree(pid: int) -> list[int]:
    try:
        below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
        for thread in threads:
            if thread != pid:
                below += [int(c) for c in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
    except OSError:
        return []
    return [pid, *(inner for child in below for inner in _tree(child))]


def _resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def measured(folder: Path, interrupt: float | None = None) -> dict[str, Any]:
    """What `predict` took on a folder; or how it ended when it was interrupted."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, peak, told = time.perf_counter(), 0, None
    command = [sys.executable, "-c", HEARS, "predict", str(folder), "--format", "csv"]
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _resident(_tree(process.pid)))
            if interrupt is not None and told is None and time.perf_counter() - start > interrupt:
                told = time.perf_counter()
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.02)
        ended = time.perf_counter()
        out.seek(0)
        err.seek(0)
        rows, said = out.read().splitlines(), err.read()
    if told is not None:
        return {"exit": process.returncode, "said": said.strip(), "seconds_after_ctrl_c": round(ended - told, 2)}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "exit": process.returncode, "rows": len(rows) - 1, "first": rows[1][-200:] if len(rows) > 1 else None,
        "processor_seconds": round(used, 2), "seconds": round(ended - start, 2), "peak_mb": round(peak / 1e6),
        "traceback": "Traceback" in said,
    }  # fmt: skip


def main() -> None:
    """Measure and print JSON."""
    parser = command_line(__doc__, out=Path)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    figures: dict[str, Any] = {"load": load_of_machine()}
    for name in args.cases:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for file, data in CASES[name]():
                (folder / file).write_bytes(data)
            figures[name] = measured(folder)
            if name.startswith("16"):
                figures[f"{name}, interrupted"] = measured(folder, interrupt=5.0)
    report(figures, args.out)


if __name__ == "__main__":
    main()
