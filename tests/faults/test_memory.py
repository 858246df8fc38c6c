"""What is kept of pictures holds none of their pixels; a batch takes the memory of a few of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukoscope.cells.frame import Preparation
from leukoscope.cells.limits import IN_WORK, Room
from leukoscope.inference.cells import CellReader, Reading, ReadOptions

BLACK = (3000, 3000)


@pytest.fixture
def blacks(tmp_path: Path) -> list[Path]:
    """Twenty-four pictures of some bytes in the file, and of 27 MB each when decoded, none of which shows a cell."""
    Image.new("RGB", BLACK).save(tmp_path / "black.webp", lossless=True)
    data = (tmp_path / "black.webp").read_bytes()
    paths = [tmp_path / f"{number}.webp" for number in range(24)]
    for path in paths:
        path.write_bytes(data)
    return paths


def test_an_error_that_is_kept_holds_no_frames(blacks: list[Path]) -> None:
    for source in (blacks[0], np.zeros((*BLACK, 3), np.uint8), np.zeros((3, 3), np.uint8), blacks[0].read_bytes()):
        for fields in (True, False):
            error = CellReader(Preparation(), options=ReadOptions(fields=fields)).read(source).error
            assert error is not None
            assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


_PEAK = """
import resource, sys
from leukoscope.cells.frame import Preparation
from leukoscope.inference.cells import CellReader
batches = CellReader(Preparation()).read_all(sys.argv[1:], batch_size=8, threads=2)
kept = [reading for batch in batches for reading in batch]
assert all(reading.error for reading in kept)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes elsewhere are bytes")
def test_memory_does_not_grow_with_the_pictures_of_a_batch(blacks: list[Path]) -> None:
    peaks = []
    for count in (3, 24):
        command = [sys.executable, "-c", _PEAK, *map(str, blacks[:count])]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < peaks[0] + 4 * 27_000  # the other 21 would be 567 MB


def test_threads_wait_for_room_and_one_that_is_larger_than_it_has_it_to_itself() -> None:
    room, lock, in_work, most = Room(100), threading.Lock(), [0, 0], [0, 0]

    def work(pixels: int) -> None:
        with room.turn():
            room.take(pixels)
            room.take(pixels)  # its size may be looked at twice
            with lock:
                in_work[0] += pixels
                in_work[1] += 1
                most[:] = max(most[0], in_work[0] if in_work[1] > 1 else 0), max(most[1], in_work[1])
            time.sleep(0.005)
            with lock:
                in_work[0] -= pixels
                in_work[1] -= 1

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (40, 30, 250, 20, 60, 90, 10, 250, 40, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 100
    assert most[1] > 1


def test_room_is_given_back_whatever_becomes_of_a_picture(blacks: list[Path], tmp_path: Path) -> None:
    reader = CellReader(Preparation())
    (tmp_path / "cut.webp").write_bytes(blacks[0].read_bytes()[:20])
    found: list[Reading] = [reader.read(path) for path in (*blacks[:2], tmp_path / "cut.webp", tmp_path / "absent")]
    assert all(reading.error for reading in found)
    assert IN_WORK._taken == 0
