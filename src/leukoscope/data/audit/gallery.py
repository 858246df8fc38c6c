"""The proof to look at: both cells, the second laid on the first, what differs, and the textures that were compared."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import read_picture
from leukoscope.data.audit.coarse import warp
from leukoscope.data.audit.links import Kind, Link
from leukoscope.data.audit.result import AuditResult
from leukoscope.data.audit.store import CHUNK, load_tile
from leukoscope.data.audit.texture import texture
from leukoscope.data.audit.tiles import TILE_SIDE

PER_SUBJECT_PAIR = 4
MOST_PAIRS = 160
_CHECK = 24  # pixels, a square of the checkerboard


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One pair of the gallery.

    Attributes:
        link: index into the result's links.
        strip: JPEG as a data URL: first, second aligned, checkerboard of both, difference, both textures.
    """

    link: int
    strip: str


def choose(result: AuditResult) -> list[int]:
    """Links worth showing: conflicts and cases for review first, then some of every subject pair, then others.

    Of a subject pair the weakest and the strongest are shown: the weakest is what a doubter should see.
    """
    chosen: dict[int, None] = dict.fromkeys(result.conflicts)
    for pair in result.review:
        chosen.update(dict.fromkeys(pair.links))
    for pair in result.pairs:
        ranked = sorted(pair.links, key=lambda n: result.links[n].score)
        unlike = [n for n in ranked if not result.links[n].identical]
        chosen.update(dict.fromkeys((unlike or ranked)[: PER_SUBJECT_PAIR - 1] + ranked[-1:]))
    inside = [n for n, link in enumerate(result.links) if not result.crosses_subjects(link)]
    for kind in Kind:
        weakest = sorted((n for n in inside if result.links[n].kind is kind), key=lambda n: result.links[n].score)
        chosen.update(dict.fromkeys(weakest[:8]))
    return list(chosen)[:MOST_PAIRS]


def exhibits(result: AuditResult, numbers: Sequence[int]) -> list[Exhibit]:
    """Draw pairs; see `Exhibit`."""
    shown = []
    for number in numbers:
        _, data = cv2.imencode(
            ".jpg",
            cv2.cvtColor(draw_pair(result, result.links[number]), cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, 82],
        )
        shown.append(Exhibit(number, "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()))
    return shown


def draw_pair(result: AuditResult, link: Link) -> NDArray[np.uint8]:
    """Strip of six panels, uint8 [TILE_SIDE, 6 * TILE_SIDE, 3].

    The difference is taken after both are brought to the same mean and contrast inside the overlap, so that another
    exposure or colour normalisation does not show, but another cell does.
    """
    grey = [load_tile(result.store, result.keys, i) for i in (link.first, link.second)]
    colour = [_colour(result, i) for i in (link.first, link.second)]
    matrix = np.array(link.matrix).reshape(2, 3)
    if link.transform.mirror:
        grey[1] = np.ascontiguousarray(grey[1][:, ::-1])
        colour[1] = np.ascontiguousarray(colour[1][:, ::-1])
    textures = [texture(tile, fine=1.0, coarse=5.0, fade=4.0)[0] for tile in grey]
    second = np.clip(warp(colour[1].astype(np.float32), matrix), 0, 255).astype(np.uint8)
    moved = warp(grey[1].astype(np.float32), matrix)
    shared = (grey[0] > 0) & (warp((grey[1] > 0).astype(np.float32), matrix) > 0.99)
    rows, columns = np.mgrid[:TILE_SIDE, :TILE_SIDE] // _CHECK
    board = np.where(((rows + columns) % 2 == 0)[..., None], colour[0], second)
    difference = np.zeros((TILE_SIDE, TILE_SIDE), np.float32)
    if shared.any():
        a, b = grey[0][shared].astype(np.float32), moved[shared]
        difference[shared] = np.abs((a - a.mean()) / (a.std() + 1) - (b - b.mean()) / (b.std() + 1))
    panels = [colour[0], second, board, _as_grey(60 * difference)]
    panels += [_as_grey(128 + 60 * t) for t in (textures[0], warp(textures[1], matrix))]
    return np.concatenate(panels, axis=1)


def _as_grey(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _colour(result: AuditResult, index: int) -> NDArray[np.uint8]:
    """The picture in colour, laid out as its tile."""
    rgb = read_picture(result.manifest.locate(result.manifest.records[index])).rgb
    with np.load(result.store / f"facts-{result.keys[index // CHUNK]}.npz") as facts:
        place = facts["place"][index % CHUNK]
    size = (TILE_SIDE, TILE_SIDE)
    blurred = cv2.GaussianBlur(rgb, (0, 0), max(0.35 / max(float(place[0, 0]), 1e-3), 0.1))
    return np.asarray(cv2.warpAffine(blurred, place, size, flags=cv2.INTER_LINEAR), np.uint8)
