"""The morphology of one cell as named numbers; what cannot be measured is None, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.regions import Mask, eroded
from leukoscope.cells.segment import RIM, Segmentation
from leukoscope.cells.shape import Shape, shape
from leukoscope.cells.texture import Texture, texture

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
