"""What a file says of the size of a pixel, where that is a measurement and no printer's default."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

PLAUSIBLE_UM_PER_PX: Final = (0.01, 1.0)  # below the diffraction limit's hundredth; above, a red cell has 8 px
_SQUARE: Final = 1.01  # ratio of the sides of a pixel up to which it is a square
_UNITS: Final = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0,
    "nm": 1e-3, "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The size of a pixel as a file states it.

    Attributes:
        um_per_px: micrometres per pixel, within `PLAUSIBLE_UM_PER_PX`.
        source: where it stands, such as `OME PhysicalSizeX`.
    """

    um_per_px: float
    source: str


def pixel_size(across: float, down: float | None, unit: str, source: str) -> PixelSize | None:
    """A stated size, where a microscope can have it and its pixels are squares; else None.

    72 and 300 dots per inch are 353 and 85 um: what a printer shall do, and no measurement.

    Args:
        across: width of a pixel.
        down: its height; None: the same.
        unit: of both.
        source: where it stands.

    >>> pixel_size(0.1, 0.1, "um", "tags"), pixel_size(1 / 72, 1 / 72, "inch", "tags")
    (PixelSize(um_per_px=0.1, source='tags'), None)
    """
    factor = _UNITS.get(unit.strip().lower().replace("\\u00b5", "\u00b5"))
    down = across if down is None else down
    if factor is None or not (math.isfinite(across) and math.isfinite(down) and min(across, down) > 0):
        return None
    if not 1 / _SQUARE <= across / down <= _SQUARE:
        return None
    size = factor * math.sqrt(across * down)
    low, high = PLAUSIBLE_UM_PER_PX
    return PixelSize(size, source) if low <= size <= high else None


def tiff_pixel_size(
    description: str, across: float | None, down: float | None, unit: int, area: int
) -> PixelSize | None:
    """The size of a pixel of a TIFF page: as OME, ImageJ or Aperio write it into the description, else by its tags.

    Args:
        description: of the file's first page.
        across: pixels per unit along a row (tag 282); None where absent.
        down: along a column (tag 283).
        unit: 1 none, 2 inch, 3 centimetre (tag 296).
        area: pixels of the page that is read: of several pictures that OME lists, the one of this size is meant.
    """
    if "<OME" in description or "<ome:OME" in description:
        return _of_ome(description, area)
    steps = None if across is None or across <= 0 else 1 / across, None if down is None or down <= 0 else 1 / down
    if description.startswith("ImageJ="):
        named = re.search(r"^unit=(.+)$", description, re.MULTILINE)
        if named and steps[0] is not None:
            return pixel_size(steps[0], steps[1], named.group(1), "ImageJ's calibration")
        return None
    aperio = re.search(r"\bMPP = ([0-9.]+)", description)
    if aperio:
        return pixel_size(_number(aperio.group(1)), None, "um", "MPP")
    if steps[0] is None or unit not in (2, 3):
        return None
    return pixel_size(steps[0], steps[1], "inch" if unit == 2 else "cm", "TIFF resolution")


def _of_ome(description: str, area: int) -> PixelSize | None:
    found = [
        dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(r"<(?:ome:)?Pixels\b([^>]*)>", description)
    ]
    same = [each for each in found if _number(each.get("SizeX", "")) * _number(each.get("SizeY", "")) == area]
    for values in same or found[:1]:
        units = {values.get(f"PhysicalSize{axis}Unit", "\u00b5m") for axis in "XY"}
        across, down = (_number(values.get(f"PhysicalSize{axis}", "")) for axis in "XY")
        if len(units) == 1:
            return pixel_size(
                across, down, units.pop().replace("&#181;", "\u00b5").replace("&#xB5;", "\u00b5"), "OME PhysicalSize"
            )
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
