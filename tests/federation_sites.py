"""Three made laboratories: discs of two classes whose colours overlap, by patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bundle_factory import disc
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.record import Record

SITES = ("Aachen", "Bergen", "Cork")


def cells_of(folder: Path, site: str, *, seed: int, groups: int = 8, each: int = 9) -> Manifest:
    """Discs of two classes whose colours overlap; patients differ."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    records = []
    for group in range(groups):
        own = rng.normal(0, 15)
        for cell in range(each):
            label = int(group % 2 == 0)
            red = int(np.clip(130 + 25 * label + own + rng.normal(0, 25), 20, 250))
            name = f"{site}-{group}-{cell}.png"
            Image.fromarray(disc((red, 255 - red, 90))).save(folder / name)
            records.append(Record(name, label, f"{site}{group}", f"{site}{group}", None, "made", None))
    return Manifest(folder, tuple(records), site)
