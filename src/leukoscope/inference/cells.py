"""From sources to frames, many at a time: decoding and finding cells in threads, order kept, memory flat."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from os import PathLike, fspath
from typing import BinaryIO, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.cutout import cutout_of_frame
from leukoscope.cells.frame import Preparation, equalise, frame_cell
from leukoscope.cells.quality import Quality, measure_quality
from leukoscope.cells.read import MAX_PIXELS, decode, read_picture
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.morphology import MeasuredCell, measure_cell
from leukoscope.smears import RED_CELL_UM, Finding, find_cells, kind_of, standard_cell
from leukoscope.smears.faults import blank_reason
from leukoscope.smears.find import MAX_FIELD_PIXELS, check_picture, find_in_crop, find_in_windows
from leukoscope.smears.kind import is_behind_instrument, is_framed
from leukoscope.smears.normalise import Normalisation, normaliser, read_reference

Source = str | PathLike[str] | NDArray[np.uint8] | bytes | BinaryIO | Image.Image | PictureError
"""A file's path, its bytes, an open file, a picture as uint8 RGB [H, W, 3] or of Pillow, or why there is none."""


# On a CPU a larger batch is no faster (22 ms of one core per cell at 1, 25 at 16, the network of 224 px), but each cell
# of a batch takes 45 MB of activations.
BATCH_SIZE = 8


UNFRAMED = "no cell on a black surround, and as a field"
_WITHHELD = {
    "cut": "the edge of the picture cuts the cell",
    "smudged": "the cell is smudged",
    "scale": "scale unknown: the answer depends on the cell's size",
}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The white cells of a field, or of a crop of one cell with its surroundings, before anything is asked of them.

    Attributes:
        kind: of the picture.
        finding: cells, red cells, scale, warnings.
        withheld: of each cell, why it is not asked: it is cut or smudged, or the scale is unknown; None: it is asked.
        pictures: of each cell that is asked, uint8 RGB [h, w, 3] on black at the standard scale.
    """

    kind: Literal["crop", "field"]
    finding: Finding
    withheld: tuple[str | None, ...]
    pictures: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the white cells of a field and brings them to the scale of the training cells.

    Attributes:
        standard: that scale, micrometres per pixel.
        um_per_px: the scale of the field where it is known; None: its red cells give it.
        red_cell_um: mean diameter of a red cell, micrometres.
        stain: how light and stain are brought to those of the training cells, see `smears.normalise`.
    """

    standard: float
    um_per_px: float | None = None
    red_cell_um: float = RED_CELL_UM
    stain: Normalisation = "none"

    def __call__(self, rgb: NDArray[np.uint8]) -> Found:
        """The white cells of a picture, uint8 RGB [H, W, 3].

        Raises:
            PictureError: it is a cell on black, too small, black or blank.
        """
        check_picture(rgb)
        kind = kind_of(rgb)
        if kind == "framed":
            if why := blank_reason(rgb):
                raise PictureError(why, remedy="give a stained smear, in focus and lit")
            raise PictureError("is one cell on black, not a field", remedy="use `leukoscope predict`")
        small = rgb.shape[0] * rgb.shape[1] <= MAX_FIELD_PIXELS
        find = find_in_crop if kind == "crop" else find_cells if small else find_in_windows
        finding = find(rgb, um_per_px=self.um_per_px, red_cell_um=self.red_cell_um)
        scale = finding.ruler.um_per_px
        unknown = _WITHHELD["scale"] if scale is None else None
        withheld = tuple(_WITHHELD.get(cell.state) or unknown for cell in finding.cells)
        asked = [cell for cell, why in zip(finding.cells, withheld, strict=True) if why is None]
        if scale is None or not asked:
            return Found(kind, finding, withheld, ())
        change = None if self.stain == "none" else normaliser(rgb, finding.cells, self.stain, read_reference())
        standard = (standard_cell(rgb, cell, scale, standard=self.standard, change=change) for cell in asked)
        return Found(kind, finding, withheld, tuple(standard))


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A source after decoding: a frame uint8 [F, F, 3], or an error. ``timings`` are milliseconds by stage.

    ``found`` are the white cells of a picture that is no cell on black, where they were sought; it has no frame then.
    """

    path: str | None = None
    sha256: str | None = None
    frame: NDArray[np.uint8] | None = None
    error: LeukoscopeError | None = None
    measured: MeasuredCell | None = None
    quality: Quality | None = None
    found: Found | None = None
    timings: dict[str, float] = field(default_factory=dict)


def load_one(
    source: Source,
    preparation: Preparation,
    max_pixels: int = MAX_PIXELS,
    *,
    quality: bool = False,
    morphology: bool = False,
    um_per_px: float | None = None,
    zoom: float | None = None,
    finder: Finder | None = None,
) -> Loaded:
    """Decode and prepare one source, and measure picture and cell if asked; what is wrong ends up in ``error``.

    ``um_per_px`` is the scale of the frames; ``zoom`` brings a picture of one cell on black to it, where it is known.
    With ``finder``, the white cells of a picture that is no cell on black are found.
    """
    if isinstance(source, PictureError):
        return Loaded(path=source.path, error=source)
    try:
        source = _as_source(source)
    except (PictureError, OSError, ValueError, MemoryError) as error:
        why = error if isinstance(error, PictureError) else PictureError(f"cannot be decoded ({error})")
        return Loaded(error=why)
    path = None if isinstance(source, np.ndarray) else fspath(source)
    sha256: str | None = None
    timings: dict[str, float] = {}
    measured: MeasuredCell | None = None
    found: Quality | None = None
    rgb: NDArray[np.uint8] | None = None
    start = time.perf_counter()
    try:
        if isinstance(source, np.ndarray):
            rgb = source
        else:
            picture = read_picture(source, max_pixels=max_pixels)
            rgb, sha256 = picture.rgb, picture.sha256
            timings["read"] = _ms(start)
        start = time.perf_counter()
        if zoom is not None and _is_picture(rgb) and is_framed(rgb):
            rgb = resized(rgb, zoom)
        if _is_picture(rgb) and is_behind_instrument(rgb):
            raise PictureError("is a field behind a black surround, not one cell", remedy="use `leukoscope field`")
        plain = frame_cell(rgb, preparation.frame_size)
        frame = equalise(plain, preparation)
        timings["prepare"] = _ms(start)
        if quality or morphology:
            start = time.perf_counter()
            cut = cutout_of_frame(plain)
            if quality:
                found = measure_quality(rgb, plain, cut)
                found = found if zoom is None else replace(found, side=None)
                timings["quality"] = _ms(start)
            if morphology:
                start = time.perf_counter()
                measured = measure_cell(cut, um_per_px=um_per_px)
                timings["measure"] = _ms(start)
    except LeukoscopeError as error:
        timings["prepare" if path is None or sha256 else "read"] = _ms(start)
        if finder is None or rgb is None or not _is_picture(rgb) or is_framed(rgb):
            return Loaded(path, sha256, error=error, timings=timings)
        return _find(rgb, finder, Loaded(path, sha256, timings=timings))
    except (OSError, ValueError, MemoryError, cv2.error) as error:  # a decoder's own failure is this picture's alone
        why = PictureError(f"cannot be decoded ({type(error).__name__}: {error})", path=path)
        return Loaded(path, sha256, error=why, timings=timings)
    return Loaded(path, sha256, frame, measured=measured, quality=found, timings=timings)


def load_all(
    sources: Iterable[Source],
    preparation: Preparation,
    *,
    batch_size: int,
    threads: int,
    max_pixels: int = MAX_PIXELS,
    quality: bool = False,
    morphology: bool = False,
    um_per_px: float | None = None,
    zoom: float | None = None,
    finder: Finder | None = None,
) -> Iterator[list[Loaded]]:
    """Yield batches of loaded sources in order; the next batch is being decoded while the caller works on this one."""
    todo = iter(sources)
    load = partial(
        load_one, preparation=preparation, max_pixels=max_pixels, quality=quality, morphology=morphology,
        um_per_px=um_per_px, zoom=zoom, finder=finder,
    )  # fmt: skip
    if threads == 1:  # one thread asked for is one thread used
        while batch := [load(source) for source in islice(todo, batch_size)]:
            yield batch
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="leukoscope-decode")
    pending: deque[Callable[[], Loaded]] = deque()
    try:
        pending.extend(pool.submit(load, source).result for source in islice(todo, 2 * batch_size))
        while pending:
            batch = [pending.popleft()() for _ in range(min(batch_size, len(pending)))]
            pending.extend(pool.submit(load, source).result for source in islice(todo, batch_size))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _as_source(source: object) -> str | PathLike[str] | NDArray[np.uint8]:
    """A path or an array, from whatever a caller has: the bytes of a file, an open file, a picture of Pillow.

    Raises:
        PictureError: it is none of these.
    """
    if isinstance(source, str | PathLike | np.ndarray):
        return source
    if isinstance(source, Image.Image):
        return np.asarray(source.convert("RGB"), np.uint8)
    if hasattr(source, "read"):
        file = cast("BinaryIO", source)
        if file.seekable():
            file.seek(0)  # one that was just written stands at its end
        source = file.read()
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(bytes(source), name="the bytes given")
    raise PictureError(
        f"a {type(source).__name__} is no picture",
        remedy="give a path, the bytes of a file, an open binary file, a Pillow image or uint8 RGB [H, W, 3]",
    )


def _find(rgb: NDArray[np.uint8], finder: Finder, loaded: Loaded) -> Loaded:
    start = time.perf_counter()
    try:
        return replace(loaded, found=finder(rgb), timings={**loaded.timings, "find": _ms(start)})
    except LeukoscopeError as error:
        why = PictureError(f"{UNFRAMED}: {error.what}", path=loaded.path, remedy=error.remedy)
    except (MemoryError, ValueError, cv2.error) as error:
        why = PictureError(f"cannot be read as a field ({type(error).__name__}: {error})", path=loaded.path)
    return replace(loaded, error=why, timings={**loaded.timings, "find": _ms(start)})


def resized(rgb: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """The picture ``zoom`` times as large, uint8 [H, W, 3]; 1 leaves it as it is.

    Raises:
        PictureError: it would have less than 8 or more than 8,192 pixels on a side.
    """
    if zoom == 1:
        return rgb
    height, width = (round(zoom * side) for side in rgb.shape[:2])
    if not 8 <= min(height, width) <= max(height, width) <= 8192:
        raise PictureError(
            f"at the scale given it would be {width} x {height} px at the scale of the model",
            remedy="check --um-per-px",
        )
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=how), np.uint8)


def _is_picture(rgb: NDArray[np.uint8]) -> bool:
    return rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size > 0


def _ms(start: float) -> float:
    return 1e3 * (time.perf_counter() - start)
