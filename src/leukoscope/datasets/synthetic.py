"""Rendered cells that need no download and no patient: for trying the tool out and for tests, never for results.

Everything written here says that it is synthetic: a PNG in its text, every data set in `SYNTHETIC.txt`.

Drawing a stained lymphoid cell from numbers: contours, chromatin, nucleoli, cytoplasm, lens and camera.

Sizes are in pixels of the 450-pixel C-NMC 2019 frame, colours in its levels. Areas, mean colours, the bright bluish rim
and the strength of the texture follow what was measured on 500 of its pictures; nothing is copied from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from leukoscope.datasets.record import SYNTHETIC_NOTE
from leukoscope.errors import DataError
from leukoscope.files import atomic_folder

FULL = 450  # pixels of the frame in which all sizes below are given
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Look:
    """How cells of one kind look.

    Attributes:
        area: median, and standard deviation of its logarithm.
        oblong: largest amplitude of the contour's second harmonic, relative to the radius.
        bumps: largest amplitude of the third harmonic; the following fall with their order.
        indent: largest depth of the dent in the nucleus, relative to its radius.
        crescent: largest width of the cytoplasm at its widest, in pixels.
        nucleoli: chances of 0, 1, 2 and 3 nucleoli.
        grain: width of the chromatin's grains, in pixels.
        clumping: 0 for open chromatin with smooth transitions, 1 for clumps with clear edges.
        contrast: standard deviation of the chromatin in green levels.
        nucleus: mean colour, RGB.
        cytoplasm: mean colour, RGB.
    """

    area: tuple[float, float]
    oblong: float
    bumps: float
    indent: float
    crescent: float
    nucleoli: tuple[float, float, float, float]
    grain: float
    clumping: float
    contrast: float
    nucleus: tuple[float, float, float]
    cytoplasm: tuple[float, float, float]


BLAST = Look(
    area=(35_500, 0.2),
    oblong=0.15,
    bumps=0.06,
    indent=0.16,
    crescent=9,
    nucleoli=(0.25, 0.35, 0.25, 0.15),
    grain=2.6,
    clumping=0.0,
    contrast=2.6,
    nucleus=(71, 29, 81),
    cytoplasm=(62, 42, 96),
)
NORMAL = Look(
    area=(25_800, 0.28),
    oblong=0.09,
    bumps=0.025,
    indent=0.02,
    crescent=13,
    nucleoli=(1, 0, 0, 0),
    grain=6.5,
    clumping=1.0,
    contrast=2.5,
    nucleus=(64, 25.5, 75),
    cytoplasm=(72, 54, 98),
)

_CHROMATIN = np.array([1.75, 1.0, 0.95])  # levels of R, G, B per level of green
_NUCLEOLUS = np.array([15.0, 12.0, 14.0])  # paler than the chromatin around it
_SPARK = np.array([8.0, 4.5, 2.0])  # pinkish gaps between the strands of chromatin
_HUE = np.array([1.7, 0.1, -1.3])  # slow drift between redder and bluer
_BORDER = np.array([-3.0, 0.0, 3.0])  # the nucleus is bluer toward its border
_RIM = np.array([22.0, 31.0, 15.0])  # thin, bright edge of the cell
_ANGLES = np.linspace(-np.pi, np.pi, 721)


def draw(rng: np.random.Generator, look: Look, size: int, stain: Floats) -> NDArray[np.uint8]:
    """Draw one cell in the middle of a black square.

    Args:
        rng: source of all that varies from cell to cell.
        look: how cells of its kind look.
        size: side of the square in pixels; the cell is scaled with it.
        stain: factors of R, G, B, around 1.

    Returns:
        uint8 [size, size, 3], exactly 0 outside the cell.
    """
    step = FULL / size
    edge, nucleus_edge = _contours(rng, look)
    side = min(size, -(-(2 * int(np.ceil(edge.max() / step)) + 4) // 8) * 8)  # a length that suits the transform
    start = (size - side) // 2
    axis: Floats = (np.arange(start, start + side) + 0.5 - size / 2) * step
    radius, angle = np.hypot(axis, axis[:, None]), np.arctan2(axis[:, None], axis)
    depth, in_nucleus = _depth(edge, radius, angle), _depth(nucleus_edge, radius, angle)

    colour = _nucleus(rng, look, axis, nucleus_edge, in_nucleus, step)
    plasma = np.array(look.cytoplasm) + 2.5 * _noise(rng, side, 5 / step)[..., None]
    share = 1 / (1 + np.exp(-np.clip(in_nucleus / 1.6, -30, 30)))[..., None]
    colour = plasma + share * (colour - plasma)
    colour += _RIM * (0.4 + 0.6 * share) * np.exp(-np.maximum(depth, 0) / 4)[..., None]
    lean = rng.normal(0, 0.02, 2)
    colour *= stain * (1 + np.clip(lean[0] * axis + lean[1] * axis[:, None], -6, 6) / 100)[..., None]
    colour = _blur(colour, rng.uniform(0.6, 1.4) / step)
    colour += rng.standard_normal(colour.shape) * 0.07 * np.sqrt(np.maximum(colour, 0))
    cover = np.clip(depth / step, 0, 1)
    colour *= np.where(cover > 0.35, cover, 0)[..., None]  # no edge pixel so faint that it passes for surround

    picture = np.zeros((size, size, 3), np.uint8)
    picture[start : start + side, start : start + side] = np.clip(np.rint(colour), 0, 255)
    return picture


def _contours(rng: np.random.Generator, look: Look) -> tuple[Floats, Floats]:
    """Radius of the cell and of its nucleus at each of `_ANGLES`: a low-order Fourier series, and a part of it."""
    harmonics = np.arange(2, 33)
    amplitude = rng.uniform(0.2, 1, harmonics.size) * look.bumps * (3 / harmonics) ** 1.7
    amplitude[10:] += rng.uniform(0, 0.0022) * rng.uniform(
        0, 1, harmonics.size - 10
    )  # the ragged edge of a segmentation
    amplitude[0] = rng.uniform(0, look.oblong)
    phase = rng.uniform(0, 2 * np.pi, harmonics.size)
    shape = 1 + amplitude @ np.cos(harmonics[:, None] * _ANGLES + phase[:, None])
    area = look.area[0] * np.exp(look.area[1] * np.clip(rng.standard_normal(), -2.3, 2.3))
    edge = shape * np.sqrt(area / np.pi / np.mean(shape[:-1] ** 2))
    edge *= min(1, 0.48 * FULL / edge.max())

    widest, dent = rng.uniform(-np.pi, np.pi, 2)
    crescent = rng.uniform(0, look.crescent) * ((1 + np.cos(_ANGLES - widest)) / 2) ** 2
    away = (_ANGLES - dent + np.pi) % (2 * np.pi) - np.pi
    indent = rng.uniform(0, look.indent) * np.exp(-0.5 * (away / rng.uniform(0.2, 0.4)) ** 2)
    return edge, (edge - rng.uniform(1, 4) - crescent) * (1 - indent)


def _depth(contour: Floats, radius: Floats, angle: Floats) -> Floats:
    """Distance from a contour in pixels, positive inside: to first order, exact on the contour."""
    slope = np.gradient(contour, _ANGLES) / contour
    steepness = np.sqrt(1 + slope**2)
    depth: Floats = (np.interp(angle, _ANGLES, contour) - radius) / np.interp(angle, _ANGLES, steepness)
    return depth


def _nucleus(rng: np.random.Generator, look: Look, axis: Floats, edge: Floats, depth: Floats, step: float) -> Floats:
    """Colours [side, side, 3] of chromatin and nucleoli, as if the nucleus were everywhere."""
    side = axis.size
    strands = _noise(rng, side, look.grain / step)
    clumps = np.tanh(1.3 * strands) / 0.72
    chromatin = (1 - look.clumping) * strands + look.clumping * clumps
    chromatin = 0.85 * chromatin + 0.6 * _noise(rng, side, 10 / step)
    colour: Floats = np.array(look.nucleus) + look.contrast * rng.uniform(0.7, 1.7) * chromatin[..., None] * _CHROMATIN
    colour += _noise(rng, side, 14 / step)[..., None] * _HUE
    colour += np.clip(1 - depth / 22, 0, 1)[..., None] * _BORDER
    colour += np.maximum(_noise(rng, side, 3.5 / step) - 1.2, 0)[..., None] * _SPARK * rng.uniform(0.3, 1.3)

    count = int(rng.choice(4, p=look.nucleoli))
    ragged = 2.5 * _noise(rng, side, 6 / step) if count else np.zeros(())
    for _ in range(count):
        away, toward, width = rng.uniform(0.1, 0.62), rng.uniform(-np.pi, np.pi), rng.uniform(9, 17)
        reach = away * np.interp(toward, _ANGLES, edge)
        distance = np.hypot(axis - reach * np.cos(toward), axis[:, None] - reach * np.sin(toward))
        inside = 1 / (1 + np.exp(np.clip((distance - width + ragged) / 1.8, -30, 30)))
        colour += inside[..., None] * _NUCLEOLUS * rng.uniform(0.6, 1.2)
    return colour


def _noise(rng: np.random.Generator, side: int, sigma: float) -> Floats:
    """Smooth Gaussian noise [side, side], mean 0 and variance 1: white noise low-passed in the Fourier domain."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    square = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    smooth = np.fft.irfft2(spectrum * np.exp(-2 * (np.pi * sigma) ** 2 * square), s=(side, side))
    unit: Floats = (smooth - smooth.mean()) / smooth.std()
    return unit


def _blur(colour: Floats, sigma: float) -> Floats:
    """Gaussian blur of [H, W, 3] by a lens slightly out of focus."""
    reach = np.arange(-3, 4)
    taps = np.exp(-0.5 * (reach / max(sigma, 0.1)) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        width = [(3, 3) if axis == along else (0, 0) for along in range(3)]
        padded = np.pad(colour, width, mode="edge")
        length = colour.shape[axis]
        colour = np.zeros_like(colour)
        for k, tap in enumerate(taps):
            colour += tap * padded.take(range(k, k + length), axis)
    return colour


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
        folder: new or empty; it is made whole or not at all.
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
    paths = []
    with atomic_folder(root) as place:
        (place / SYNTHETIC_NOTE).write_text(_NOTE)
        for index, (kind, subject, name) in enumerate(_names(count, subjects, layout)):
            path = f"{name}.{picture_format}"
            _save(_render(kind, size, (seed, 2, index), stains[subject]), place / path, picture_format)
            paths.append(root / path)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, format=picture_format.upper(), **extra)


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
