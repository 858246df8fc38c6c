"""Nucleus and cytoplasm of one cell whose outline is known: by its own stain, with no fixed colour.

All lengths are shares of the cell's equivalent diameter D, all levels come from the cell itself, so that the same cell
at another resolution or brightness is divided alike. What the cut-outs of C-NMC 2019 show is mostly nucleus: where no
cytoplasm can be seen, that is said, and no boundary is invented.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import cell_mask
from leukoscope.cells.regions import components, eroded, filled, grown, opened
from leukoscope.cells.stain import Floats, Mask, nuclear_stain, otsu_levels

SMOOTHING = 0.01  # of D: Gaussian over the stain before it is divided
GRAIN = 0.02  # of D: radius below which parts of the nucleus are grains of something else
TAIL = 0.1  # of D: radius below which parts of the cut-out are tails: debris, or the edge of a neighbour
RIM = 0.03  # of D: radius that cytoplasm must have room for; the blurred edge of every cell is pale, but narrower
LOBE = 0.1  # of the largest lobe's area: smaller dark parts are granules
HOLE = 0.05  # of the nucleus' area: larger pale parts inside it are left open, as in ring-shaped nuclei
LEAST_CYTOPLASM = 0.03  # of the cell's area, in parts that have room for a disc of `RIM`
LEAST_CONTRAST = 4.0  # between the medians of cytoplasm and nucleus, in standard deviations of the nucleus


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The parts of one cell.

    Attributes:
        outline: bool [H, W], the cell as it was cut out.
        cell: bool [H, W], the outline without narrow tails.
        nucleus: bool [H, W], within the cell; all of the cell where no cytoplasm is visible.
        cytoplasm_visible: whether a paler region wide enough, large enough and distinct enough lies at the border.
        contrast: between cytoplasm and nucleus in standard deviations of the nucleus; 0 where nothing pale has room.
    """

    outline: Mask
    cell: Mask
    nucleus: Mask
    cytoplasm_visible: bool
    contrast: float

    @property
    def cytoplasm(self) -> Mask:
        """Cell without nucleus, bool [H, W]; empty where none is visible."""
        return np.asarray(self.cell & ~self.nucleus)

    @property
    def diameter(self) -> float:
        """Diameter in pixels of the disc that has the cell's area."""
        return equivalent_diameter(self.cell)


def segment(frame: NDArray[np.uint8], outline: Mask | None = None) -> Segmentation:
    """Divide one cell into nucleus and cytoplasm.

    The stain (`nuclear_stain`) is divided at Otsu's level of the cell. Dark grains and thin dark borders are opened
    away, lobes kept, small holes (nucleoli, gaps) closed. The pale rest counts as cytoplasm if it reaches the cell's
    border, has room for a disc of `RIM`, fills `LEAST_CYTOPLASM` of the cell and differs by `LEAST_CONTRAST`.

    Args:
        frame: uint8 RGB [H, W, 3].
        outline: bool [H, W], the cell; None: the frame is one cell on black and `cell_mask` finds it.

    Raises:
        PictureError: no outline is given and the frame holds no cell on a black surround.
        ValueError: the outline is empty or has another shape than the frame.
    """
    whole = cell_mask(frame) if outline is None else np.asarray(outline, np.bool_)
    if whole.shape != frame.shape[:2] or not whole.any():
        raise ValueError(f"the outline must be a mask of {frame.shape[:2]} that is not empty, not {whole.shape}")
    left, top, width, height = cv2.boundingRect(whole.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    cell = _without_tails(whole[window])
    nucleus, visible, contrast = _divide(np.ascontiguousarray(frame[window]), cell)
    return Segmentation(whole, _place(cell, window, whole), _place(nucleus, window, whole), visible, contrast)


def equivalent_diameter(mask: Mask) -> float:
    """Diameter in pixels of the disc that has the mask's area.

    >>> round(equivalent_diameter(np.ones((10, 10), bool)), 3)
    11.284
    """
    return math.sqrt(4 * np.count_nonzero(mask) / math.pi)


def _without_tails(whole: Mask) -> Mask:
    """The largest part that is left when parts narrower than a disc of `TAIL` are gone."""
    labels, areas = components(opened(whole, TAIL * equivalent_diameter(whole)))
    body = np.asarray(labels == int(np.argmax(areas)))
    return body if areas.max() >= np.count_nonzero(whole) / 2 else whole  # all tail: there is no body to prefer


def _divide(rgb: NDArray[np.uint8], cell: Mask) -> tuple[Mask, bool, float]:
    """Nucleus, whether cytoplasm is visible, and how distinct it is."""
    size = equivalent_diameter(cell)
    stain = nuclear_stain(rgb, cell, sigma=SMOOTHING * size)
    (level,) = otsu_levels(stain[cell])
    nucleus = _lobes((stain > level) & cell, size)
    pale = opened(cell & ~nucleus, RIM * size)
    border = grown(~cell, RIM * size) | _edge(cell)
    labels, areas = components(pale)
    outer = np.unique(labels[border & pale])
    cytoplasm = np.isin(labels, outer[outer > 0])
    core = eroded(nucleus, RIM * size)
    if not core.any() or areas[outer].sum() < LEAST_CYTOPLASM * np.count_nonzero(cell):
        return cell, False, 0.0
    contrast = _contrast(stain[core], stain[cytoplasm])
    if contrast < LEAST_CONTRAST:
        return cell, False, contrast
    return nucleus, True, contrast


def _lobes(dark: Mask, size: float) -> Mask:
    """Lobes of the nucleus: grains gone, small parts gone, small holes closed."""
    labels, areas = components(opened(dark, GRAIN * size))
    if not areas.any():
        return dark
    lobes = np.asarray((areas >= LOBE * areas.max())[labels] & (labels > 0))
    return filled(lobes, HOLE * np.count_nonzero(lobes))


def _edge(cell: Mask) -> Mask:
    """The outermost pixels of the array: a cell may fill its bounding box up to them."""
    edge = np.zeros_like(cell)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    return edge


def _contrast(nucleus: Floats, cytoplasm: Floats) -> float:
    spread = float(np.std(nucleus, dtype=np.float64))
    gap = float(np.median(nucleus) - np.median(cytoplasm))
    return gap / max(spread, 0.5)  # half a level: finer than a picture of 8 bits can show


def _place(part: Mask, window: tuple[slice, slice], like: Mask) -> Mask:
    whole = np.zeros_like(like)
    whole[window] = part
    return whole
