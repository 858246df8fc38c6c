"""Nucleus and cytoplasm of one cell whose outline is known: by its own stain, with no fixed colour.

All lengths are shares of the cell's equivalent diameter D, all levels come from the cell itself, so that the same cell
at another resolution or brightness is divided alike. What the cut-outs of C-NMC 2019 show is mostly nucleus: where no
cytoplasm can be seen, that is said, and no boundary is invented.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.cutout import View, cutout, view
from leukoscope.cells.frame import cell_mask
from leukoscope.cells.masks import depth, enclosed, inked, opened, outlines
from leukoscope.cells.stain import Floats, Mask, median_stain, nuclear_stain, otsu_level, smooth

SMOOTHING = 0.01  # of D: Gaussian over the stain before it is divided
GRAIN = 0.02  # of D: radius below which parts of the nucleus are grains of something else
TAIL = 0.1  # of D: radius below which parts of the cut-out are tails: debris, or the edge of a neighbour
RIM = 0.03  # of D: radius that cytoplasm must have room for; the blurred edge of every cell is pale, but narrower
LOBE = 0.1  # of the largest lobe's area: smaller dark parts are granules
HOLE = 0.05  # of the nucleus' area: larger pale parts inside it are left open, as in ring-shaped nuclei
LEAST_CYTOPLASM = 0.03  # of the cell's area, in parts that have room for a disc of `RIM`
LEAST_CONTRAST = 3.9  # between the medians of cytoplasm and nucleus, in standard deviations of the nucleus


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The parts of one cell, at the resolution of its view.

    Attributes:
        view: the cell as it was divided, with its outline as it was cut out.
        body: bool [h, w], the outline without narrow tails.
        kernel: bool [h, w], the nucleus, within the body; all of the body where no cytoplasm is visible.
        inside: bool [h, w], the nucleus without the rim of `RIM` along its border.
        cytoplasm_visible: whether a paler region wide enough, large enough and distinct enough lies at the border.
        contrast: between cytoplasm and nucleus in standard deviations of the nucleus; 0 where nothing pale has room.
    """

    view: View
    body: Mask
    kernel: Mask
    inside: Mask
    cytoplasm_visible: bool
    contrast: float

    @property
    def outline(self) -> Mask:
        """The cell as it was cut out, in the picture: bool [H, W]."""
        return self.view.cut.in_picture(self.view.cut.mask)

    @property
    def cell(self) -> Mask:
        """The cell without tails, in the picture: bool [H, W]."""
        return self.view.in_picture(self.body)

    @property
    def nucleus(self) -> Mask:
        """The nucleus in the picture, bool [H, W]; all of the cell where no cytoplasm is visible."""
        return self.view.in_picture(self.kernel)

    @property
    def cytoplasm(self) -> Mask:
        """Cell without nucleus, bool [H, W]; empty where none is visible."""
        return np.asarray(self.cell & ~self.nucleus)

    @property
    def diameter(self) -> float:
        """Diameter in pixels of the picture of the disc that has the cell's area."""
        return self.view.step * equivalent_diameter(self.body)


def segment(frame: NDArray[np.uint8], outline: Mask | None = None) -> Segmentation:
    """Divide one cell into nucleus and cytoplasm at full resolution, for masks; `divide` is the same for any view.

    Args:
        frame: uint8 RGB [H, W, 3].
        outline: bool [H, W], the cell; None: the frame is one cell on black and `cell_mask` finds it.

    Raises:
        PictureError: no outline is given and the frame holds no cell on a black surround.
        ValueError: the outline is empty or has another shape than the frame.
    """
    whole = cell_mask(frame) if outline is None else np.asarray(outline, np.bool_)
    return divide(view(cutout(frame, whole), 1))


def divide(seen: View) -> Segmentation:
    """Divide the cell of a view into nucleus and cytoplasm.

    The stain (`nuclear_stain`) is divided at Otsu's level of the cell. Dark grains and thin dark borders are opened
    away, lobes kept, small holes (nucleoli, gaps) closed. The pale rest counts as cytoplasm if it reaches the cell's
    border, has room for a disc of `RIM`, fills `LEAST_CYTOPLASM` of the cell and differs by `LEAST_CONTRAST`.
    """
    deep = depth(seen.outline)
    body = _without_tails(seen, deep)
    size = equivalent_diameter(body)
    rim = RIM * size
    inner = body & (deep > rim)
    stain = smooth(nuclear_stain(seen.rgb), seen.solid, SMOOTHING * size)
    nucleus = _lobes(np.asarray(stain > otsu_level(stain, body)) & body, size)
    cytoplasm = _cytoplasm(body & ~nucleus, ~inner, rim, LEAST_CYTOPLASM * np.count_nonzero(body))
    core = None if cytoplasm is None else nucleus & (depth(nucleus) > rim)
    if cytoplasm is None or core is None or not core.any():
        return Segmentation(seen, body, body, inner, False, 0.0)
    contrast = _contrast(stain, core, cytoplasm)
    if contrast < LEAST_CONTRAST:
        return Segmentation(seen, body, body, inner, False, contrast)
    return Segmentation(seen, body, nucleus, core, True, contrast)


def equivalent_diameter(mask: Mask) -> float:
    """Diameter in pixels of the disc that has the mask's area.

    >>> round(equivalent_diameter(np.ones((10, 10), bool)), 3)
    11.284
    """
    return float(np.sqrt(4 * np.count_nonzero(mask) / np.pi))


def _without_tails(seen: View, deep: Floats) -> Mask:
    """The largest part that is left when parts narrower than a disc of `TAIL` are gone."""
    whole, radius = seen.outline, TAIL * seen.diameter
    inner = np.asarray(deep > radius)
    if not inner.any():
        return whole
    body = np.asarray(depth(~inner, beyond=True) <= radius) & whole
    lines = outlines(body)
    if len(lines.parts) > 1 or lines.holes:  # pixels of a cell that are exactly black are no surround
        body = inked([max(lines.parts, key=enclosed)], body.shape)
    # All tail: there is no body to prefer.
    return body if np.count_nonzero(body) >= np.count_nonzero(whole) / 2 else whole


def _lobes(dark: Mask, size: float) -> Mask:
    """Lobes of the nucleus: grains gone, small parts gone, small holes closed."""
    opened_dark = opened(dark, GRAIN * size)
    lines = outlines(opened_dark)
    if not lines.parts:
        return dark
    areas = [enclosed(line) for line in lines.parts]
    kept = [line for line, area in zip(lines.parts, areas, strict=True) if area >= LOBE * max(areas)]
    lobes = inked(kept, dark.shape)
    least = HOLE * np.count_nonzero(lobes & opened_dark)
    rings = [line for line in lines.holes if enclosed(line, hole=True) > least]
    return lobes & (opened_dark | ~inked(rings, dark.shape)) if rings else lobes


def _cytoplasm(pale: Mask, border: Mask, rim: float, least: float) -> Mask | None:
    """Those pale parts with room for a disc that reach the border; None where they have fewer than ``least`` pixels."""
    middle = np.asarray(depth(pale) > rim)
    if not middle.any():
        return None
    wide = np.asarray(depth(~middle, beyond=True) <= rim)
    if np.count_nonzero(wide) < least:
        return None
    reaching = [line for line in outlines(wide).parts if border[line[:, 0, 1], line[:, 0, 0]].any()]
    found = inked(reaching, wide.shape) & wide
    return found if np.count_nonzero(found) >= least else None


def _contrast(stain: Floats, nucleus: Mask, cytoplasm: Mask) -> float:
    spread = float(cv2.meanStdDev(stain, mask=nucleus.view(np.uint8))[1][0, 0])
    gap = median_stain(stain, nucleus) - median_stain(stain, cytoplasm)
    return gap / max(spread, 0.5)  # half a level: finer than a picture of 8 bits can show
