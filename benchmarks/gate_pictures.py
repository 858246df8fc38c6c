"""Pictures that the gate should turn down: foreign ones, and cells disturbed with a known strength.

Every foreign kind comes in two forms. *As it comes*: mostly without a black surround, which framing refuses. *In a
cell's outline*: the middle of the picture seen through the outline of a C-NMC cell on black, or, for single cells, cut
out along their own outline. Size, form and surround are then those of a real cell and only the content is foreign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from leukoscope.cells.crop import segment_crop
from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture

Picture = NDArray[np.uint8]
SIDE = 450
TEXT = (
    "the patient was seen on a smear count blood result white cells 4.7 10.2 % mg/dl date sample haematology report "
    "normal no blasts found red platelets anisocytosis see page reference value laboratory signed ordered by"
)


def in_outline(content: Picture, outline: NDArray[np.bool_]) -> Picture:
    """The middle of a picture seen through an outline; a picture smaller than the outline's box is enlarged."""
    left, top, width, height = cv2.boundingRect(outline.view(np.uint8))
    scale = max(width / content.shape[1], height / content.shape[0], 1.0)
    if scale > 1:
        content = np.asarray(cv2.resize(content, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    y, x = (content.shape[0] - height) // 2, (content.shape[1] - width) // 2
    result = np.zeros((*outline.shape, 3), np.uint8)
    # Black inside the outline would be taken for surround: real pictures have no level 0 to 12 in a cell either.
    result[top : top + height, left : left + width] = np.maximum(content[y : y + height, x : x + width], 12)
    result[~outline] = 0
    return result


def cut_out(rgb: Picture) -> Picture:
    """A single cell cut out along its own outline, on black."""
    result = rgb.copy()
    result[~segment_crop(rgb).outline] = 0
    return result


def document(rng: np.random.Generator) -> Picture:
    """A page of text, black on white or the other way round, of some letter size."""
    paper, ink = (250, 20) if rng.random() < 0.8 else (20, 235)
    page = Image.new("RGB", (SIDE, SIDE), (paper,) * 3)
    draw = ImageDraw.Draw(page)
    size = int(rng.integers(9, 30))
    font = ImageFont.load_default(size)
    for top in range(8, SIDE, int(size * 1.4)):
        draw.text((8, top), " ".join(rng.choice(TEXT.split(), 16)), fill=(ink,) * 3, font=font)
    return np.asarray(page, np.uint8).copy()


def noise(rng: np.random.Generator, like: Picture) -> Picture:
    """Noise of one of four kinds: uniform or normal, or with a cell's own mean and spread, fine or blurred."""
    kind = int(rng.integers(4))
    if kind == 0:
        return np.asarray(rng.integers(0, 256, (SIDE, SIDE, 3)), np.uint8)
    if kind == 1:
        return np.asarray(np.clip(rng.normal(128, 40, (SIDE, SIDE, 1)) * np.ones(3), 0, 255), np.uint8)
    pixels = like[like.any(axis=2)].astype(np.float64)
    field = rng.normal(0, 1, (SIDE, SIDE, 3))
    if kind == 3:
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), 6), np.float64)
        field /= field.std()
    return np.asarray(np.clip(pixels.mean(0) + field * pixels.std(0), 0, 255), np.uint8)


def photographs(rng: np.random.Generator, count: int) -> list[Picture]:
    """Crops of the two photographs that come with scikit-learn, at several scales, turned and mirrored."""
    found = []
    for number in range(count):
        photo = load_sample_images().images[number % 2]
        side = int(rng.integers(120, 420))
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        crop = np.rot90(photo[y : y + side, x : x + side], int(rng.integers(4)))
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        found.append(np.asarray(cv2.resize(np.ascontiguousarray(crop), (SIDE, SIDE)), np.uint8))
    return found


def foreign(data: Path, cells: list[Picture], seed: int, limit: int) -> Iterator[tuple[str, str, Picture]]:
    """Kind, form and picture of everything foreign.

    Args:
        data: folder of the real data sets.
        cells: C-NMC cells that lend their outlines.
        seed: of all choices.
        limit: pictures of a kind at most.
    """
    rng = np.random.default_rng(seed)
    outlines = [cell_mask(cell) for cell in cells]

    def outline() -> NDArray[np.bool_]:
        return outlines[int(rng.integers(len(outlines)))]

    for folder in sorted((data / "pbc").iterdir()):
        for path in sorted(folder.iterdir())[:limit]:
            rgb = read_picture(path).rgb
            yield f"pbc {folder.name}", "as it comes", rgb
            yield f"pbc {folder.name}", "in outline", cut_out(rgb)
    for path in sorted((data / "bccd" / "JPEGImages").iterdir())[:limit]:
        rgb = read_picture(path).rgb
        yield "bccd field", "as it comes", rgb
        yield "bccd field", "in outline", in_outline(rgb, outline())
        wide = np.zeros((rgb.shape[0] + 200, rgb.shape[1] + 200, 3), np.uint8)
        wide[100:-100, 100:-100] = rgb
        yield "bccd field", "on black", wide
    for _ in range(limit):
        rgb = noise(rng, cells[int(rng.integers(len(cells)))])
        yield "noise", "as it comes", rgb
        yield "noise", "in outline", in_outline(rgb, outline())
    for _ in range(limit):
        rgb = document(rng)
        yield "document", "as it comes", rgb
        yield "document", "in outline", in_outline(rgb, outline())
    for rgb in photographs(rng, limit):
        yield "photograph", "as it comes", rgb
        yield "photograph", "in outline", in_outline(rgb, outline())
    for number in range(limit):
        first, second = cells[number % len(cells)], cells[(number * 7 + 3) % len(cells)]
        yield "two cells", "touching", two_cells(first, second, gap=-6)
        yield "two cells", "apart", two_cells(first, second, gap=25)


def two_cells(first: Picture, second: Picture, *, gap: int) -> Picture:
    """Two cells beside each other in one picture; their boxes overlap by ``-gap`` pixels or are ``gap`` apart."""
    boxes = []
    for cell in (first, second):
        mask = cell_mask(cell)
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        boxes.append(np.where(mask[..., None], cell, 0)[top : top + height, left : left + width])
    (h1, w1), (h2, w2) = boxes[0].shape[:2], boxes[1].shape[:2]
    result = np.zeros((max(h1, h2) + 40, w1 + w2 + gap + 40, 3), np.uint8)
    result[20 + (max(h1, h2) - h1) // 2 :][:h1, 20 : 20 + w1] = boxes[0]
    window = result[20 + (max(h1, h2) - h2) // 2 :][:h2, 20 + w1 + gap : 20 + w1 + gap + w2]
    np.copyto(window, boxes[1], where=boxes[1].any(axis=2, keepdims=True))
    return result


def _blur(cell: Picture, strength: float) -> Picture:
    if strength == 0:
        return cell
    mask = cell_mask(cell).astype(np.float32)
    total = cv2.GaussianBlur(cell * mask[..., None], (0, 0), strength)
    share = cv2.GaussianBlur(mask, (0, 0), strength)
    return _cell(cell, total / np.maximum(share, 1e-3)[..., None])


def _exposure(cell: Picture, strength: float) -> Picture:
    return _cell(cell, cell * 2.0**strength)


def _stain(cell: Picture, strength: float) -> Picture:
    density = -np.log10((cell.astype(np.float64) + 1) / 256)
    return _cell(cell, 256 * 10 ** -(density * np.array([1 + strength, 1 - strength, 1 + strength / 2])) - 1)


def _jpeg(cell: Picture, strength: float) -> Picture:
    if strength == 0:
        return cell
    _, content = cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, int(100 - strength)])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def _noise(cell: Picture, strength: float) -> Picture:
    rng = np.random.default_rng(int(cell.sum()) % 2**32)
    return _cell(cell, cell + rng.normal(0, 1, cell.shape) * strength)


def _scale(cell: Picture, strength: float) -> Picture:
    ratio = 2.0**strength
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cell, None, fx=ratio, fy=ratio, interpolation=method), np.uint8)


def _crop(cell: Picture, strength: float) -> Picture:
    left, _, width, _ = cv2.boundingRect(cell_mask(cell).view(np.uint8))
    return np.ascontiguousarray(cell[:, left + round(strength * width) :]) if strength else cell


def _cell(cell: Picture, values: NDArray[np.float64]) -> Picture:
    """Levels 12 to 255 within the cell, so that it stays a cell; black outside it."""
    return np.where(cell_mask(cell)[..., None], np.clip(np.rint(values), 12, 255), 0).astype(np.uint8)


#: What is done, its unit, and the strengths that are tried.
DISTURBANCES: dict[str, tuple[Callable[[Picture, float], Picture], str, tuple[float, ...]]] = {
    "blur": (_blur, "sigma in px", (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8)),
    "exposure": (_exposure, "stops", (-2, -1.5, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.5, 2)),
    "stain": (_stain, "change of the dyes' mix", (-0.4, -0.3, -0.2, -0.15, -0.1, -0.05, 0, 0.05, 0.1, 0.15, 0.2, 0.3)),
    "jpeg": (_jpeg, "100 less quality", (0, 10, 30, 50, 70, 80, 90, 95)),
    "noise": (_noise, "standard deviation in levels", (0, 1, 2, 4, 6, 8, 12, 16, 24)),
    "scale": (_scale, "octaves", (-2, -1.5, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1)),
    "crop": (_crop, "share of the width cut off", (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)),
}
