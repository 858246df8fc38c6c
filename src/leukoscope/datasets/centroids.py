"""Lists of blasts: the `.xyc` files of ALL-IDB1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError

FOLDER, SUFFIX = "xyc", ".xyc"


def centroid_file(picture: Path) -> Path | None:
    """The list that belongs to a picture of ALL-IDB1: `im/Im001_1.jpg` has `xyc/Im001_1.xyc`; None if it lacks."""
    table = picture.parent.parent / FOLDER / f"{picture.stem}{SUFFIX}"
    return table if table.is_file() else None


def read_centroids(path: Path) -> NDArray[np.float64]:
    """Centres of the blasts of one picture.

    Args:
        path: a text file with one `x<TAB>y` a line, in pixels, y downwards; blank lines are skipped.

    Returns:
        float64 [N, 2] as (x, y); [0, 2] for an empty file.

    Raises:
        DataError: unreadable, or a line that is not two finite numbers from 0 on; with its number.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as a list of points ({error})", path=path) from error
    points: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            x, y = (float(cell) for cell in cells)
        except ValueError:
            x = y = np.nan
        if not (np.isfinite(x) and np.isfinite(y) and min(x, y) >= 0):
            raise DataError(
                f"line {number}: {line.strip()!r} is not x and y in pixels", path=path, remedy="restore the file"
            )
        points.append((x, y))
    return np.array(points, dtype=np.float64).reshape(-1, 2)
