"""From pictures to cells, many at a time: decoding, finding and framing in threads, order kept, memory flat."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from os import PathLike, fspath
from typing import BinaryIO, Final, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.cutout import cutout_of_frame
from leukoscope.cells.frame import Preparation, equalise, frame_cell
from leukoscope.cells.limits import IN_WORK, MAX_PIXELS
from leukoscope.cells.quality import Quality, measure_quality
from leukoscope.cells.read import Picture, decoded, read_picture
from leukoscope.cells.scale import PixelSize
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.morphology import MeasuredCell, measure_cell
from leukoscope.smears import RED_CELL_UM, STANDARD_UM_PER_PX, Finding, WhiteCell, find_cells, kind_of, standard_cell
from leukoscope.smears.find import (
    MAX_FIELD_PIXELS,
    by_stated_scale,
    check_picture,
    find_framed,
    find_in_crop,
    find_in_windows,
)
from leukoscope.smears.kind import Kind, is_behind_instrument, is_framed
from leukoscope.smears.normalise import Normalisation, normaliser, read_reference
from leukoscope.threads import outcome

Source = str | PathLike[str] | NDArray[np.uint8] | bytes | BinaryIO | Image.Image | PictureError
"""A file's path, its bytes, an open file, a picture as uint8 RGB [H, W, 3] or of Pillow, or why there is none."""

Channels = Literal["rgb", "bgr"]

# On a CPU a larger batch is no faster (22 ms of one core per cell at 1, 25 at 16, the network of 224 px), but each cell
# of a batch takes 45 MB of activations.
BATCH_SIZE = 8

UNFRAMED = "no cell on a black surround, and as a field"
_WITHHELD: Final = {
    "cut": "the edge of the picture cuts the cell",
    "smudged": "the cell is smudged",
    "scale": "scale unknown: the answer depends on the cell's size",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How pictures are read.

    Attributes:
        max_pixels: larger pictures are refused before they are decoded.
        um_per_px: their scale where it is known; None: the file states it, else the red cells of a field give it, and a
            picture of one cell on black is taken to have that of the training cells.
        red_cell_um: mean diameter of a red cell, micrometres.
        stain: how light and stain of a field are brought to those of the training cells, see `smears.normalise`.
        channels: order of the colours of arrays; files say it themselves.
        fields: find the white cells of a picture that is not one cell on black; else it is an error.
        quality: measure each cell as a gate does.
        measure: measure each cell's form, for words.
        keep: keep the picture, and outline a cell on black too: for pages and files of fields.

    Raises:
        ValueError: there is no such order of channels.
    """

    max_pixels: int = MAX_PIXELS
    um_per_px: float | None = None
    red_cell_um: float = RED_CELL_UM
    stain: Normalisation = "none"
    channels: Channels = "rgb"
    fields: bool = True
    quality: bool = False
    measure: bool = False
    keep: bool = False

    def __post_init__(self) -> None:
        if self.channels not in ("rgb", "bgr"):
            raise ValueError(f"channels must be 'rgb' or 'bgr', not {self.channels!r}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell lies that was found in a field, or in a crop with its surroundings.

    Attributes:
        number: of the cell in its picture, from 1, from top to bottom.
        box: x, y, width, height in pixels of the picture.
        kind: of the picture.
        um_per_px: its scale; None where unknown.
        warnings: what the answer may suffer from, in sentences without a full stop.
    """

    number: int
    box: tuple[int, int, int, int]
    kind: Literal["crop", "field"]
    um_per_px: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One white cell, before it is asked.

    Attributes:
        frame: uint8 RGB [F, F, 3], what the network sees; None where the cell is withheld.
        place: where it was found; None for a picture of one cell on black.
        withheld: why it is not asked: it is cut or smudged, or the scale is unknown.
        found: its contours in pixels of the picture; None for a cell on black, unless the picture is kept.
        quality: what a gate measures; None where not asked.
        measured: its parts and measurements; None where not asked.
    """

    frame: NDArray[np.uint8] | None = None
    place: Place | None = None
    withheld: str | None = None
    found: WhiteCell | None = None
    quality: Quality | None = None
    measured: MeasuredCell | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One picture and its white cells, before anything is asked of them: one on black is a field with one cell.

    Attributes:
        path: the file; None for an array or bytes.
        sha256: of the file's bytes, hexadecimal; None for an array, or where the file cannot be read.
        kind: of the picture; None where it cannot be read.
        cells: from top to bottom.
        finding: red cells, scale, warnings; None for one cell on black, unless the picture is kept.
        error: why there is no cell; None where the picture was read, even where it shows none.
        rgb: uint8 [H, W, 3], the picture where it was to be kept.
        timings: milliseconds by stage: `read`, `prepare`, `find`, `quality`, `measure`.
    """

    path: str | None = None
    sha256: str | None = None
    kind: Kind | None = None
    cells: tuple[Cell, ...] = ()
    finding: Finding | None = None
    error: LeukoscopeError | None = None
    rgb: NDArray[np.uint8] | None = None
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CellReader:
    """Reads pictures and frames their cells as a bundle's network wants them.

    Attributes:
        preparation: of the frames.
        um_per_px: their scale, micrometres per pixel; None: that of C-NMC 2019, of which no size is stated.
        options: how pictures are read.
        sides: longer sides of pictures of one cell on black that have this scale, pixels; empty: all have it.
    """

    preparation: Preparation
    um_per_px: float | None = None
    options: ReadOptions = ReadOptions()
    sides: frozenset[int] = frozenset()

    @property
    def standard(self) -> float:
        """The scale that found cells are brought to, micrometres per pixel."""
        return self.um_per_px or STANDARD_UM_PER_PX

    def read(self, source: Source) -> Reading:
        """Read one picture; what is wrong with it ends up in `Reading.error`, which holds no pixels.

        Where other threads work on large pictures, it waits for room; see `leukoscope.cells.limits.IN_WORK`.
        """
        if isinstance(source, PictureError):
            return Reading(path=source.path, error=_bare(source, None))
        with IN_WORK.turn():
            return self._read(source)

    def _read(self, source: Source) -> Reading:
        path: str | None = None
        sha256: str | None = None
        timings: dict[str, float] = {}
        start = time.perf_counter()
        try:
            given = _as_source(source)
            stated: PixelSize | None = None
            if isinstance(given, np.ndarray):
                rgb = self._ordered(given)
            elif isinstance(given, Picture):
                rgb, stated = given.rgb, given.scale
            else:
                path = fspath(given)
                picture = read_picture(given, max_pixels=self.options.max_pixels)
                rgb, sha256, stated = picture.rgb, picture.sha256, picture.scale
                timings["read"] = _ms(start)
            if self.options.um_per_px is not None:
                stated = None
            return self._cells(rgb, stated, Reading(path, sha256, timings=timings))
        except LeukoscopeError as error:
            timings.setdefault("prepare" if path is None or sha256 else "read", _ms(start))
            return Reading(path, sha256, error=_bare(error, path), timings=timings)
        except (OSError, ValueError, MemoryError, cv2.error) as error:  # a decoder's own failure is this picture's
            why = PictureError(f"cannot be decoded ({type(error).__name__}: {error})", path=path)
            return Reading(path, sha256, error=why, timings=timings)

    def read_all(self, sources: Iterable[Source], *, batch_size: int, threads: int) -> Iterator[list[Reading]]:
        """Yield batches of readings in order; the next pictures are read while the caller works on this batch."""
        todo = iter(sources)
        if threads == 1:  # one thread asked for is one thread used
            while batch := [self.read(source) for source in islice(todo, batch_size)]:
                yield batch
            return
        pool = ThreadPoolExecutor(threads, thread_name_prefix="leukoscope-read")
        pending: deque[Future[Reading]] = deque()
        try:
            ahead = batch_size + max(threads, batch_size)
            pending.extend(pool.submit(self.read, source) for source in islice(todo, ahead))
            while pending:
                batch = [outcome(pending.popleft(), pool) for _ in range(min(batch_size, len(pending)))]
                pending.extend(pool.submit(self.read, source) for source in islice(todo, batch_size))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def _cells(self, rgb: NDArray[np.uint8], stated: PixelSize | None, reading: Reading) -> Reading:
        """The picture's cells: one on black; or those that are found, where that is asked for."""
        start = time.perf_counter()
        scale = self.options.um_per_px if stated is None else stated.um_per_px
        zoom = None if scale is None else scale / self.standard
        usable = _is_picture(rgb)
        framed = usable and is_framed(rgb)
        behind = usable and not framed and is_behind_instrument(rgb)
        one = resized(rgb, zoom) if framed and zoom is not None else rgb
        plain: NDArray[np.uint8] | None = None
        try:
            plain = None if behind else frame_cell(one, self.preparation.frame_size)
        except PictureError:
            if framed or not usable or not self.options.fields:
                raise
        if plain is not None:
            cell = self._framed(one, plain, Cell(), reading.timings, start, known=zoom is not None)
            reading = replace(reading, kind="framed", cells=(cell,))
            return self._kept(rgb, stated, reading) if self.options.keep else reading
        if not self.options.fields:
            raise PictureError("is a field behind a black surround, not one cell", remedy="use `leukoscope field`")
        _add(reading.timings, "prepare", start)
        return self._found(rgb, stated, reading)

    def _framed(
        self, rgb: NDArray[np.uint8], plain: NDArray[np.uint8], cell: Cell, timings: dict[str, float], start: float,
        *, known: bool,
    ) -> Cell:  # fmt: skip
        """The cell with its frame, and measured as asked; with a known scale the picture's size tells nothing."""
        frame = equalise(plain, self.preparation)
        _add(timings, "prepare", start)
        quality: Quality | None = None
        measured: MeasuredCell | None = None
        if self.options.quality or self.options.measure:
            start = time.perf_counter()
            cut = cutout_of_frame(plain)
            if self.options.quality:
                quality = measure_quality(rgb, plain, cut)
                quality = replace(quality, side=None) if known else quality
                _add(timings, "quality", start)
            if self.options.measure:
                start = time.perf_counter()
                measured = measure_cell(cut, um_per_px=self.um_per_px)
                _add(timings, "measure", start)
        return replace(cell, frame=frame, quality=quality, measured=measured)

    def _found(self, rgb: NDArray[np.uint8], stated: PixelSize | None, reading: Reading) -> Reading:
        """The white cells of a field, or of a crop of one cell with its surroundings, at the standard scale."""
        start = time.perf_counter()
        try:
            check_picture(rgb)
            kind = kind_of(rgb)
            small = rgb.shape[0] * rgb.shape[1] <= MAX_FIELD_PIXELS
            find = find_in_crop if kind == "crop" else find_cells if small else find_in_windows
            scale = self.options.um_per_px if stated is None else stated.um_per_px
            finding = find(rgb, um_per_px=scale, red_cell_um=self.options.red_cell_um)
            finding = finding if stated is None else by_stated_scale(finding, stated, self.options.red_cell_um)
        except LeukoscopeError as error:
            raise PictureError(f"{UNFRAMED}: {error.what}", path=reading.path, remedy=error.remedy) from error
        except (MemoryError, ValueError, cv2.error) as error:
            why = f"cannot be read as a field ({type(error).__name__}: {error})"
            raise PictureError(why, path=reading.path) from error
        finally:
            _add(reading.timings, "find", start)
        assert kind != "framed"
        scale = finding.ruler.um_per_px
        stain = self.options.stain
        change = None if stain == "none" else normaliser(rgb, finding.cells, stain, read_reference())
        cells = []
        for number, white in enumerate(finding.cells, 1):
            place = Place(number, white.box, kind, scale, finding.warnings)
            withheld = _WITHHELD.get(white.state) or (_WITHHELD["scale"] if scale is None else None)
            cell = Cell(place=place, withheld=withheld, found=white)
            if scale is not None and withheld is None:
                cell = self._standard(standard_cell(rgb, white, scale, standard=self.standard, change=change), cell,
                                      reading.timings)  # fmt: skip
            cells.append(cell)
        kept = rgb if self.options.keep else None
        return replace(reading, kind=kind, cells=tuple(cells), finding=finding, rgb=kept)

    def _standard(self, picture: NDArray[np.uint8], cell: Cell, timings: dict[str, float]) -> Cell:
        start = time.perf_counter()
        try:
            plain = frame_cell(picture, self.preparation.frame_size)
            return self._framed(picture, plain, cell, timings, start, known=True)
        except PictureError as error:  # the cell's alone: the others of the field are asked
            return replace(cell, withheld=str(error))

    def _kept(self, rgb: NDArray[np.uint8], stated: PixelSize | None, reading: Reading) -> Reading:
        """A cell on black as a field with one cell: with its outline, and the picture."""
        known = self.standard if not self.sides or max(rgb.shape[:2]) in self.sides else None
        finding = find_framed(rgb, um_per_px=self.options.um_per_px, standard=known)
        if stated is not None:
            finding = by_stated_scale(finding, stated, self.options.red_cell_um)
        (cell,) = reading.cells
        return replace(reading, cells=(replace(cell, found=finding.cells[0]),), finding=finding, rgb=rgb)

    def _ordered(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An array of colours in the order of RGB."""
        swap = self.options.channels == "bgr" and rgb.ndim == 3 and rgb.shape[2] == 3
        return np.ascontiguousarray(rgb[..., ::-1]) if swap else rgb


def _as_source(source: object) -> str | PathLike[str] | NDArray[np.uint8] | Picture:
    """A path, an array or a picture, from whatever a caller has: bytes, an open file, a picture of Pillow.

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
        return decoded(bytes(source), name="the bytes given")
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


def _bare(error: LeukoscopeError, path: str | None) -> LeukoscopeError:
    """The error with its picture's path and without a traceback, whose frames would hold pixels as long as it."""
    return type(error)(error.what, path=error.path or path, remedy=error.remedy)


def _is_picture(rgb: NDArray[np.uint8]) -> bool:
    return rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size > 0


def _add(timings: dict[str, float], stage: str, start: float) -> None:
    timings[stage] = timings.get(stage, 0.0) + _ms(start)


def _ms(start: float) -> float:
    return 1e3 * (time.perf_counter() - start)
