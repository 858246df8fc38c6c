"""What the checks of a picture's file cost `predict`, both sides in one run, in turns.

    python benchmarks/checks.py [--rounds 20]

Rendered cells as BMP, PNG, JPEG and WebP, from the file to the answer with the default bundle on one thread; once as it
is, once with the checks taken out: checksums of PNG, parts and scans, the room that large pictures wait for, and JPEG
by Pillow, which hears no warning. Processor time of the thread; its median ratio over the rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from PIL import Image

from leukoscope.cells import limits, read
from leukoscope.datasets.synthetic import render_cell
from leukoscope.inference.classifier import Classifier, load

KINDS = {"BMP": {}, "PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"quality": 98}}


@contextmanager
def unchecked() -> Iterator[None]:
    """The reader without its checks."""
    with (
        patch.object(read, "check_png", lambda *_: None),
        patch.object(read, "check_png_parts", lambda *_: None),
        patch.object(read, "jpeg_scans", lambda *_: 1),
        patch.object(read, "jpeg_rgb", lambda *_: None),
        patch.object(limits.IN_WORK, "take", lambda *_: None),
    ):
        yield


def spent(classifier: Classifier, files: list[bytes]) -> float:
    """Processor time for one file, seconds."""
    start = time.thread_time()
    for data in files:
        classifier.predict(data)
    return (time.thread_time() - start) / len(files)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    classifier = load(threads=1)
    found = {}
    for kind, options in KINDS.items():
        files = []
        for seed in range(6):
            buffer = io.BytesIO()
            Image.fromarray(render_cell(seed, "blast" if seed % 2 else "normal")).save(buffer, kind, **options)
            files.append(buffer.getvalue())

        pairs = []
        for turn in range(given.rounds + 1):
            if turn % 2:
                with unchecked():
                    without = spent(classifier, files)
                pairs.append((spent(classifier, files), without))
            else:
                checked = spent(classifier, files)
                with unchecked():
                    pairs.append((checked, spent(classifier, files)))
        ratios = sorted(a / b for a, b in pairs[1:])
        found[kind] = {
            "ms_checked": round(1e3 * statistics.median(a for a, _ in pairs[1:]), 2),
            "ms_unchecked": round(1e3 * statistics.median(b for _, b in pairs[1:]), 2),
            "median_ratio": round(statistics.median(ratios), 4),
            "quartiles": [round(ratios[len(ratios) // 4], 4), round(ratios[-len(ratios) // 4], 4)],
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
