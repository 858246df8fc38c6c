"""From sources to frames, many at a time: decoding in threads, order kept, memory flat."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from os import PathLike, fspath
from typing import BinaryIO

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
from leukoscope.smears.kind import is_framed

Source = str | PathLike[str] | NDArray[np.uint8] | bytes | BinaryIO | Image.Image | PictureError
"""A file's path, its bytes, an open file, a picture as uint8 RGB [H, W, 3] or of Pillow, or why there is none."""


# On a CPU a larger batch is no faster (22 ms of one core per cell at 1, 25 at 16, the network of 224 px), but each cell
# of a batch takes 45 MB of activations.
BATCH_SIZE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A source after decoding: a frame uint8 [F, F, 3], or an error. ``timings`` are milliseconds by stage.

    ``unframed`` is the source again where the error is that it is no cell on black, so that it may be a field; the
    decoded pixels of a file are not kept.
    """

    path: str | None = None
    sha256: str | None = None
    frame: NDArray[np.uint8] | None = None
    error: LeukoscopeError | None = None
    measured: MeasuredCell | None = None
    quality: Quality | None = None
    unframed: str | NDArray[np.uint8] | None = None
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
) -> Loaded:
    """Decode and prepare one source, and measure picture and cell if asked; what is wrong ends up in ``error``.

    ``um_per_px`` is the scale of the frames; ``zoom`` brings a picture of one cell on black to it, where it is known.
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
        unframed = None if rgb is None or not _is_picture(rgb) or is_framed(rgb) else path or rgb
        return Loaded(path, sha256, error=error, unframed=unframed, timings=timings)
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
) -> Iterator[list[Loaded]]:
    """Yield batches of loaded sources in order; the next batch is being decoded while the caller works on this one."""
    todo = iter(sources)
    load = partial(
        load_one, preparation=preparation, max_pixels=max_pixels, quality=quality, morphology=morphology,
        um_per_px=um_per_px, zoom=zoom,
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
        source = source.read()
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(bytes(source), name="the bytes given")
    raise PictureError(
        f"a {type(source).__name__} is no picture",
        remedy="give a path, the bytes of a file, an open binary file, a Pillow image or uint8 RGB [H, W, 3]",
    )


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
