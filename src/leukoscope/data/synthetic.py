"""Rendered cells that need no download and no patient: for trying the tool out and for tests, never for results.

Everything written here says that it is synthetic: a PNG in its text, every data set in `SYNTHETIC.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from leukoscope.data.record import SYNTHETIC_NOTE
from leukoscope.data.rendering import BLAST, NORMAL, draw
from leukoscope.errors import DataError
from leukoscope.files import atomic_path, write_text

Kind = Literal["blast", "normal"]
Layout = Literal["cnmc", "folders"]
PictureFormat = Literal["png", "bmp"]

LABEL: Final = "leukoscope synthetic"
MIN_SIZE: Final = 64  # pixels; below it the smallest cells would be too small to be framed
FIRST_SUBJECT: Final = 101  # above the numbers of C-NMC 2019, whose known aliases must not merge rendered subjects
CELLS_PER_FIELD: Final = 5

_LOOKS: Final = {"normal": NORMAL, "blast": BLAST}  # the position seeds the generator
_NOTE: Final = (
    "The pictures in this folder are synthetic: drawn by leukoscope from random numbers, not taken of any cell.\n"
    "They serve to try the tool out and to test it. Figures measured on them say nothing about real cells.\n"
)


def render_cell(seed: int, kind: Kind, *, size: int = 450) -> NDArray[np.uint8]:
    """Render a segmented lymphoid cell on black, stained as in C-NMC 2019.

    A blast is larger, its nucleus irregular and nearly filling it, its chromatin fine, with 0 to 3 nucleoli; a normal
    lymphocyte is smaller and rounder, its chromatin darker and clumped. Sizes overlap: area alone does not separate
    the kinds. The same arguments give the same bytes (NumPy's PCG64; across platforms up to the last bit of the
    mathematical functions, which rounding to 8 bits nearly always hides).

    Args:
        seed: not negative.
        kind: "blast" or "normal".
        size: side in pixels, at least `MIN_SIZE`; the cell is scaled with it.

    Returns:
        uint8 [size, size, 3], exactly 0 outside the cell.

    Raises:
        DataError: an argument is out of range.
    """
    _one_of("kind of cell", kind, get_args(Kind))
    return _render(kind, _size(size), (_seed(seed),), np.ones(3))


def write_synthetic(
    folder: str | PathLike[str],
    *,
    count: int,
    seed: int,
    layout: Layout = "cnmc",
    subjects: int = 6,
    picture_format: PictureFormat = "png",
    size: int = 450,
) -> list[Path]:
    """Write a data set of rendered cells, dealt in turn to subjects that differ in stain and brightness.

    Subjects are by turns leukemic and healthy: of an even number of subjects, both classes have as many pictures, to
    within the last round.

    Args:
        folder: new or empty.
        count: number of pictures, at least 1.
        seed: not negative; the same arguments give the same files.
        layout: "cnmc", the official tree `C-NMC_Leukemia/training_data/fold_{0,1,2}/{all,hem}/UID_*` with both classes
            in each fold from six subjects on; or "folders", `{blast,normal}/<subject>/<cell>`.
        subjects: number of subjects, at least 2.
        picture_format: "png" or "bmp".
        size: side of the pictures in pixels.

    Returns:
        The paths of the pictures, in the order in which they were rendered.

    Raises:
        DataError: an argument is out of range, or the folder holds files.
        LeukoscopeError: the folder cannot be written.
    """
    _one_of("layout", layout, get_args(Layout))
    _one_of("picture format", picture_format, get_args(PictureFormat))
    _size(size)
    if count < 1 or subjects < 2:
        raise DataError(f"cannot render {count} pictures of {subjects} subjects", remedy="ask for 1 and 2 at least")
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError("is not an empty folder", path=root, remedy="choose a new folder for synthetic pictures")
    stains = [_stain(np.random.default_rng((_seed(seed), 1, subject)), 0.08) for subject in range(subjects)]
    write_text(root / SYNTHETIC_NOTE, _NOTE)
    paths = []
    for index, (kind, subject, name) in enumerate(_names(count, subjects, layout)):
        path = root / f"{name}.{picture_format}"
        _save(_render(kind, size, (seed, 2, index), stains[subject]), path, picture_format)
        paths.append(path)
    return paths


def _names(count: int, subjects: int, layout: Layout) -> Iterator[tuple[Kind, int, PurePosixPath]]:
    """Kind, index of the subject and relative path without suffix, for each picture."""
    for index in range(count):
        turn, subject = divmod(index, subjects)
        field, cell = divmod(turn, CELLS_PER_FIELD)
        healthy = subject % 2 == 1
        kind: Kind = "normal" if healthy else "blast"
        number = f"{'H' if healthy else ''}{FIRST_SUBJECT + subject}"
        if layout == "folders":
            yield kind, subject, PurePosixPath(kind, number, f"{field + 1}_{cell + 1}")
            continue
        word = "hem" if healthy else "all"
        tree = PurePosixPath("C-NMC_Leukemia", "training_data", f"fold_{subject // 2 % 3}", word)
        yield kind, subject, tree / f"UID_{number}_{field + 1}_{cell + 1}_{word}"


def _render(kind: Kind, size: int, seeds: tuple[int, ...], stain: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    entropy = (list(_LOOKS).index(kind), *seeds)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    return draw(rng, _LOOKS[kind], size, stain * _stain(rng, 0.1))


def _stain(rng: np.random.Generator, spread: float) -> NDArray[np.floating[Any]]:
    """Factors of R, G, B: brightness, which they share, and a little of hue."""
    factors: NDArray[np.floating[Any]] = np.exp(rng.normal(0, spread) + rng.normal(0, spread / 3, 3))
    return factors


def _save(picture: NDArray[np.uint8], path: Path, picture_format: PictureFormat) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", LABEL)
    extra = {"pnginfo": text} if picture_format == "png" else {}  # a BMP has no place for text
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format=picture_format.upper(), **extra)


def _seed(seed: int) -> int:
    if seed < 0:
        raise DataError(f"the seed {seed} is negative", remedy="give 0 or more")
    return seed


def _size(size: int) -> int:
    if size < MIN_SIZE:
        raise DataError(f"a cell cannot be rendered at {size} px", remedy=f"ask for {MIN_SIZE} px or more")
    return size


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise DataError(f"no {what} is called {given!r}", remedy=f"choose one of {', '.join(known)}")
