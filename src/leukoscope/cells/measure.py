"""The morphology of one cell as named numbers; what cannot be measured is None, with the reason.

The numbers of size and form are right for discs and do not change when a mask is turned or mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.masks import Mask, enclosed, eroded, longest_run, outlines
from leukoscope.cells.segment import RIM, Segmentation
from leukoscope.cells.texture import Texture, texture


@dataclass(frozen=True, slots=True)
class Shape:
    """Form of one region.

    Attributes:
        area: pixels.
        diameter: of the disc with this area, in pixels: ``sqrt(4 area / pi)``.
        perimeter: pixels, see `perimeter`.
        roundness: ``4 pi area / perimeter^2``: 1 for a disc, less for anything else (Cox 1927, "A method of assigning
            numerical and percentage values to the degree of roundness of sand grains"); digitisation may add 0.02.
        elongation: ratio of the axes of the ellipse with the same second moments, 1 or more.
        solidity: area over that of the convex hull, 0 to 1.
        irregularity: root mean square distance of the outline from that ellipse, as a share of the radius; 0 for an
            ellipse.
        straight_edge: longest straight run of the outline along a side of the bounding box, over the diameter: a cell
            that was cut off at the edge of its picture has a long one.
    """

    area: int
    diameter: float
    perimeter: float
    roundness: float
    elongation: float
    solidity: float
    irregularity: float
    straight_edge: float


def shape(mask: Mask) -> Shape:
    """Measure the form of a mask's largest component.

    Args:
        mask: bool [H, W], at least one pixel set.

    Raises:
        ValueError: the mask is empty.
    """
    parts = outlines(mask).parts
    if not parts:
        raise ValueError("an empty mask has no shape")
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    outline = parts[0] if len(parts) == 1 else max(parts, key=enclosed)
    area = int(np.count_nonzero(mask))
    around = perimeter(mask)
    diameter = math.sqrt(4 * area / math.pi)
    elongation, irregularity = _against_ellipse(outline)
    straight = _straight_run(mask[top : top + height, left : left + width])
    return Shape(
        area, diameter, around, 4 * math.pi * area / around**2, elongation, _solidity(outline), irregularity,
        straight / diameter,
    )  # fmt: skip


def perimeter(mask: Mask) -> float:
    """Length of the boundary in pixels by Crofton's formula with lines in four directions.

    A line in direction k, at spacing d_k (1 along the axes, 1/sqrt 2 along the diagonals), crosses the boundary N_k
    times over all lines; the length is ``pi / 8 * sum(d_k N_k)`` (Lehmann & Legland 2012, "Efficient N-dimensional
    surface estimation using Crofton formula and run-length encoding", Insight Journal). It has no bias for discs,
    while counting boundary pixels is short by a tenth and counting their edges long by 4 / pi.

    Args:
        mask: bool [H, W].

    >>> y, x = np.mgrid[-40:41, -40:41]
    >>> round(perimeter(np.asarray(x**2 + y**2 <= 30**2)) / (2 * np.pi * 30), 1)
    1.0
    """
    wide = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    wide[1:-1, 1:-1] = mask
    straight = np.count_nonzero(wide[1:] != wide[:-1]) + np.count_nonzero(wide[:, 1:] != wide[:, :-1])
    diagonal = np.count_nonzero(wide[1:, 1:] != wide[:-1, :-1]) + np.count_nonzero(wide[1:, :-1] != wide[:-1, 1:])
    return math.pi / 8 * float(straight + diagonal / math.sqrt(2))


def _solidity(outline: NDArray[np.int32]) -> float:
    """Both areas are those of polygons through the centres of the boundary's pixels, so that a disc has 1, nearly."""
    hull = cv2.contourArea(cv2.convexHull(outline))
    return min(1.0, cv2.contourArea(outline) / hull) if hull > 0 else 1.0


def _against_ellipse(outline: NDArray[np.int32]) -> tuple[float, float]:
    """Elongation, and how far the outline lies from the ellipse of the same second moments.

    Both are those of the polygon through the centres of the boundary's pixels.
    """
    sums = cv2.moments(outline)
    area = sums["m00"]
    if area <= 0:  # a line of pixels
        return math.inf, 0.0
    across, down, cross = (sums[name] / area for name in ("mu20", "mu02", "mu11"))
    half, apart = (across + down) / 2, math.hypot((across - down) / 2, cross)
    x = outline[:, 0, 0] - sums["m10"] / area
    y = outline[:, 0, 1] - sums["m01"] / area
    # An ellipse of semi-axes a, b has moments a^2 / 4, b^2 / 4, so this is 1 on it.
    determinant = across * down - cross * cross
    away = np.sqrt((down * x * x - 2 * cross * x * y + across * y * y) / determinant) / 2 - 1
    return math.sqrt((half + apart) / (half - apart)), math.sqrt(float(away @ away) / len(away))


def _straight_run(part: Mask) -> int:
    """Longest run of set pixels in the first or last row or column of a mask cropped to its bounding box."""
    end = np.zeros(1, np.bool_)
    return longest_run(np.concatenate([part[0], end, part[-1], end, part[:, 0], end, part[:, -1]]))


STRAIGHT = (0.35, 4.0)  # a straight edge of this share of the diameter, and of 4 sqrt(diameter) px, is a cut
TOUCHING = 0.02  # of the cell's outline on the edge of the array: likewise

NO_SCALE: Final = "the scale of the picture is not known"
CUT_OFF: Final = "the cell is cut off by a straight edge"
NO_CYTOPLASM: Final = "no cytoplasm can be told apart from the nucleus"
TOO_SMALL: Final = "too few pixels of nucleus away from its border"

#: Unit of each measurement, in the order of all lists; "1" is a pure number. docs/morphology.md defines them.
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cell_area": "px",
        "cell_diameter": "px",
        "cell_area_um2": "um2",
        "cell_diameter_um": "um",
        "cell_roundness": "1",
        "cell_elongation": "1",
        "cell_solidity": "1",
        "cell_irregularity": "1",
        "tail_share": "1",
        "nucleus_area": "px",
        "nucleus_share": "1",
        "nucleus_roundness": "1",
        "nucleus_solidity": "1",
        "nucleus_irregularity": "1",
        "chromatin_density": "OD",
        "chromatin_entropy": "bit",
        "chromatin_contrast": "%",
        "chromatin_clumping": "%",
        "nucleolus_candidates": "count",
        "cytoplasm_basophilia": "1",
    }
)


@dataclass(frozen=True, slots=True)
class Morphology:
    """All measurements of one cell.

    Attributes:
        values: by the names of `UNITS`, in their order; None where undefined.
        reasons: why, for each that is None.
    """

    values: Mapping[str, float | None]
    reasons: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Values to five significant digits, with the reasons for those that are None."""
        rounded = {name: None if value is None else significant(value) for name, value in self.values.items()}
        return {"values": rounded, "undefined": dict(self.reasons)}


def measure(parts: Segmentation, *, um_per_px: float | None = None) -> Morphology:
    """Measure one cell.

    Args:
        parts: from `segment` or `divide`, of the picture with its levels unaltered (no CLAHE).
        um_per_px: micrometres per pixel of the picture, None where unknown.
    """
    seen, body = parts.view, parts.body
    whole = shape(body)
    values: dict[str, float | None] = dict.fromkeys(UNITS)
    reasons: dict[str, str] = {}
    cut = is_cut(whole) or touches_edge(parts)
    kept = whole.area / int(np.count_nonzero(seen.outline))
    area = kept * seen.area
    values |= {} if cut else _cell(whole, area, um_per_px)
    values["tail_share"] = 1 - kept
    if parts.cytoplasm_visible:
        nucleus = shape(parts.kernel)
        values |= _nucleus(nucleus, area * nucleus.area / whole.area, None if cut else nucleus.area / whole.area)
        values["cytoplasm_basophilia"] = basophilia(seen.rgb, body, parts.kernel, rim=RIM * whole.diameter)
    green = np.asarray(cv2.extractChannel(seen.rgb, 1), np.uint8)
    chromatin = texture(green, parts.kernel & seen.solid, parts.inside, diameter=whole.diameter, step=seen.step)
    values |= {} if chromatin is None else _chromatin(chromatin)
    for name, value in values.items():
        if value is None:
            reasons[name] = _reason(name, cut=cut, parts=parts)
    return Morphology(MappingProxyType(values), MappingProxyType(reasons))


def basophilia(rgb: NDArray[np.uint8], cell: Mask, nucleus: Mask, *, rim: float) -> float | None:
    """Blueness of the cytoplasm, ``median(ln((B + 1) / (R + 1)))`` away from the cell's blurred rim.

    RNA in the cytoplasm binds the blue dye, which lets blue pass and absorbs red. 0 is as red as blue.

    Args:
        rgb: uint8 [H, W, 3].
        cell: bool [H, W].
        nucleus: bool [H, W].
        rim: width of the rim in pixels.

    Returns:
        None where no cytoplasm lies within the rim.
    """
    inner = eroded(cell, rim) & ~nucleus
    if not inner.any():
        return None
    red, blue = (np.log(rgb[..., channel][inner].astype(np.float64) + 1) for channel in (0, 2))
    return float(np.median(blue - red))


def is_cut(form: Shape) -> bool:
    """Whether the region has a straight edge too long for a smooth outline of pixels to have."""
    return form.straight_edge >= max(STRAIGHT[0], STRAIGHT[1] / math.sqrt(form.diameter))


def touches_edge(parts: Segmentation) -> bool:
    """Whether the cell without its tails leaves the picture along more than a point."""
    cut, step, body = parts.view.cut, parts.view.step, parts.body
    reached = (
        (cut.top == 0, body[0]),
        (cut.top + cut.mask.shape[0] == cut.shape[0], body[-1]),
        (cut.left == 0, body[:, 0]),
        (cut.left + cut.mask.shape[1] == cut.shape[1], body[:, -1]),
    )
    longest = max((step * int(np.count_nonzero(side)) for at, side in reached if at), default=0)
    return longest > max(2 * step, TOUCHING * sum(cut.shape))


def significant(value: float, digits: int = 5) -> float:
    """The value rounded to significant digits.

    >>> significant(0.123456789), significant(38123.456)
    (0.12346, 38123.0)
    """
    return float(f"{value:.{digits}g}")


def _cell(form: Shape, area: float, um_per_px: float | None) -> dict[str, float | None]:
    diameter = math.sqrt(4 * area / math.pi)
    return {
        "cell_area": area,
        "cell_diameter": diameter,
        "cell_area_um2": None if um_per_px is None else area * um_per_px**2,
        "cell_diameter_um": None if um_per_px is None else diameter * um_per_px,
        "cell_roundness": form.roundness,
        "cell_elongation": form.elongation,
        "cell_solidity": form.solidity,
        "cell_irregularity": form.irregularity,
    }


def _nucleus(form: Shape, area: float, share: float | None) -> dict[str, float | None]:
    return {
        "nucleus_area": area,
        "nucleus_share": share,
        "nucleus_roundness": form.roundness,
        "nucleus_solidity": form.solidity,
        "nucleus_irregularity": form.irregularity,
    }


def _chromatin(grain: Texture) -> dict[str, float]:
    return {
        "chromatin_density": grain.density,
        "chromatin_entropy": grain.entropy,
        "chromatin_contrast": grain.contrast,
        "chromatin_clumping": grain.clumping,
        "nucleolus_candidates": float(grain.spots),
    }


def _reason(name: str, *, cut: bool, parts: Segmentation) -> str:
    if name.startswith("chromatin") or name == "nucleolus_candidates":
        return TOO_SMALL
    if name.startswith(("nucleus", "cytoplasm")) and not parts.cytoplasm_visible:
        return NO_CYTOPLASM
    if name == "cytoplasm_basophilia":
        return "no cytoplasm lies away from the cell's rim"
    return CUT_OFF if cut else NO_SCALE
