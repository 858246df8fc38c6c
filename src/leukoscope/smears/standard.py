"""The standard scale: what a pixel of a C-NMC 2019 picture is worth, and a cell brought to it.

C-NMC 2019 shows no red cell and its authors state no pixel size, so its scale is an estimate from two sides:

- Optics. A Nikon DS-5M camera behind an objective of 100 x. As far as is known without the makers' records, its sensor
  has 2560 x 1920 pixels of 3.4 um, and Nikon's usual relay to such a camera is 0.7 x: 3.4 / (100 x 0.7) = 0.049 um.
  Without a relay it would be 0.034, with one of 0.55 x 0.062.
- Biology. The median normal cell of the set measures 186 px across, mostly nucleus, its 10 % and 90 % quantiles 160 and
  225 px (docs/morphology.md). Nuclei of lymphoid cells in dried smears measure 7 to 10 um, small lymphocytes about 8.5
  um: 8.5 / 186 = 0.046, and 7 to 10 um allow 0.038 to 0.054. The relays of 1 x and 0.55 x fall outside.

Both agree on about 0.049, to some 15 %. All sizes in micrometres that are stated of C-NMC 2019 share this uncertainty.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.smears.normalise import Change
from leukoscope.smears.whitecells import WhiteCell

STANDARD_UM_PER_PX: Final = 0.049
STANDARD_UNCERTAINTY: Final = 0.15  # of it, either way; an estimate, not a measurement
_MARGIN = 2  # pixels of black around the cell


def standard_cell(
    rgb: NDArray[np.uint8],
    cell: WhiteCell,
    um_per_px: float,
    *,
    standard: float = STANDARD_UM_PER_PX,
    change: Change | None = None,
) -> NDArray[np.uint8]:
    """One cell cut out on black at the standard scale, as `cells.frame.prepare` takes it.

    Args:
        rgb: uint8 [H, W, 3], the field.
        cell: of that field.
        um_per_px: micrometres per pixel of the field.
        standard: micrometres per pixel of the result.
        change: of light and stain, from `smears.normalise.normaliser`; None: the pixels as they are.

    Returns:
        uint8 [h, w, 3], black outside the cell and around it, where no pixel of the cell is black itself.

    Raises:
        ValueError: a scale is not positive.
    """
    if um_per_px <= 0 or standard <= 0:
        raise ValueError("micrometres per pixel must be positive")
    x, y, width, height = cell.box
    part = np.ascontiguousarray(rgb[y : y + height, x : x + width])
    part = part if change is None else change(part)
    mask = cell.mask()[: part.shape[0], : part.shape[1]]
    factor = um_per_px / standard
    size = (max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    large = cv2.resize(part, size, interpolation=how)
    soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    # Where the cell itself is near black, it must not be taken for its surround.
    large = np.where((soft > 0.5)[..., None], np.maximum(large, 11), 0).astype(np.uint8)
    return np.pad(large, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)))
