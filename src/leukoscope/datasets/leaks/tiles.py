"""What the audit keeps of one picture: two hashes, a small grey tile of the cell, and a few plain measures.

The texture of a cell: what is left when its outline, its brightness and its contrast are taken away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import NEAR_BLACK, cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError

TILE_SIDE = 192  # pixels
PICTURE_SIDE = 224  # pixels; a picture's longer side at the tile's scale, so that a resized copy gives the same tile
_MARGIN = 2  # pixels kept free around the cell
MEASURES = ("area", "box_width", "box_height", "red", "green", "blue", "width", "height", "file_bytes")


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, reduced.

    Attributes:
        file_sha256: of the file's bytes.
        pixel_sha256: of the decoded pixels and their shape.
        grey: uint8 [TILE_SIDE, TILE_SIDE], 0 outside the cell, 1 to 255 inside; all 0 for a blank picture.
        place: float64 [2, 3], takes a pixel (x, y, 1) of the picture to the tile.
        size: width and height of the picture in pixels.
        whole: the picture has no black surround, so all of it was taken.
        measures: float64 [9], see `MEASURES`; areas and lengths in pixels, colours are means over the cell, 0 to 255.
    """

    file_sha256: str
    pixel_sha256: str
    grey: NDArray[np.uint8]
    place: NDArray[np.float64]
    size: tuple[int, int]
    whole: bool
    measures: NDArray[np.float64]


def read_tile(path: Path) -> Tile:
    """Read a picture and reduce it.

    Raises:
        PictureError: the file is no whole picture.
    """
    picture = read_picture(path)
    digest = hashlib.sha256(np.asarray(picture.rgb.shape, np.int64).tobytes())
    digest.update(np.ascontiguousarray(picture.rgb).tobytes())
    return reduce_picture(picture.rgb, picture.sha256, digest.hexdigest(), path.stat().st_size)


def reduce_picture(rgb: NDArray[np.uint8], file_sha256: str, pixel_sha256: str, file_bytes: int) -> Tile:
    """Cut the cell out of a picture, put it on the middle of a tile, in grey.

    Args:
        rgb: uint8 [H, W, 3].
        file_sha256: of the file's bytes.
        pixel_sha256: of the pixels.
        file_bytes: size of the file in bytes.
    """
    mask, whole = _mask(rgb)
    height, width = mask.shape
    grey = np.zeros((TILE_SIDE, TILE_SIDE), np.uint8)
    if not mask.any():
        empty = np.zeros((2, 3))
        measures = np.array([0, 0, 0, 0, 0, 0, width, height, file_bytes], np.float64)
        return Tile(file_sha256, pixel_sha256, grey, empty, (width, height), whole, measures)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    inside = mask[top:bottom, left:right].astype(np.float32)
    crop = rgb[top:bottom, left:right]
    levels = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.float32)
    room = TILE_SIDE - 2 * _MARGIN
    scale = min(PICTURE_SIDE / max(width, height), room / max(bottom - top, right - left))
    new_width = min(room, max(1, round((right - left) * scale)))
    new_height = min(room, max(1, round((bottom - top) * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    share = np.asarray(cv2.resize(inside, (new_width, new_height), interpolation=way))
    # Weighted by the mask: otherwise the black surround would draw a dark rim.
    small = np.asarray(cv2.resize(levels * inside, (new_width, new_height), interpolation=way))
    small = np.clip(np.rint(small / np.maximum(share, 1e-3)), 1, 255)
    small = np.where(share >= 0.5, small, 0).astype(np.uint8)
    x0, y0 = (TILE_SIDE - new_width) // 2, (TILE_SIDE - new_height) // 2
    grey[y0 : y0 + new_height, x0 : x0 + new_width] = small
    sx, sy = new_width / (right - left), new_height / (bottom - top)
    # Pixel centres: picture x + 1/2 goes to tile (x + 1/2 - left) * sx + x0.
    place = np.array([[sx, 0, x0 - 0.5 + (0.5 - left) * sx], [0, sy, y0 - 0.5 + (0.5 - top) * sy]])
    colour = crop[inside > 0].mean(axis=0)
    area = float(inside.sum())
    measures = np.array([area, right - left, bottom - top, *colour, width, height, file_bytes], np.float64)
    return Tile(file_sha256, pixel_sha256, grey, place, (width, height), whole, measures)


def _mask(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], bool]:
    """The cell's pixels; for a picture that is no cell on black, all that is not black, and whether it is whole."""
    try:
        return cell_mask(rgb), False
    except PictureError:
        lit = np.asarray((rgb > NEAR_BLACK).any(axis=2))
        if lit.mean() > 0.5:
            return np.ones_like(lit), True
        return lit, False


def texture(
    tile: NDArray[np.uint8], *, fine: float, coarse: float, fade: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Band-pass the inside of a cell and even out its local contrast.

    Every blur is a normalised convolution (Knutsson and Westin 1993), so the black surround never mixes with the
    cell; the result fades to zero towards the outline. Two round cells with unlike chromatin therefore have nothing in
    common. Gains and gamma change brightness and local contrast only, and both are divided out.

    Args:
        tile: grey levels of one cell, uint8 [S, S], 0 outside the cell and 1 to 255 inside.
        fine: standard deviation in pixels of the blur that removes noise.
        coarse: standard deviation in pixels of the blur that is subtracted.
        fade: width in pixels of the ramp at the outline.

    Returns:
        The texture, float32 [S, S], zero outside; and its weight, float32 [S, S], 0 to 1.

    >>> flat, weight = texture(np.full((32, 32), 90, np.uint8), fine=1.0, coarse=4.0, fade=2.0)
    >>> bool(np.abs(flat).max() < 0.1), float(weight.max())
    (True, 1.0)
    """
    inside = tile > 0
    mask = inside.astype(np.float32)
    grey = tile.astype(np.float32)
    band = _normalised_blur(grey, mask, fine) - _normalised_blur(grey, mask, coarse)
    # The edge of the tile is an outline as well, hence the padding.
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip((depth - 1.0) / fade, 0.0, 1.0).astype(np.float32)
    band *= weight
    reach = 1.5 * coarse
    local = np.sqrt(_blur(band * band, reach) / np.maximum(_blur(weight, reach), 1e-3))
    overall = float(np.sqrt(np.sum(band * band) / max(float(weight.sum()), 1.0)))
    # The floor of one grey level keeps quantisation noise of an even area from being blown up into a texture.
    even = band / (local + 0.3 * overall + 1.0)
    return np.where(weight > 0, even, 0.0).astype(np.float32), weight


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), np.float32)


def _normalised_blur(grey: NDArray[np.float32], mask: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(_blur(grey * mask, sigma) / np.maximum(_blur(mask, sigma), 1e-3), np.float32)
