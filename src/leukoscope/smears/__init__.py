"""What a field is: its light, its red cells as a ruler, its white cells with their contours, and what spoils it.

Needs NumPy and OpenCV only. `find_cells` is the one way from a picture to the white cells that it shows.
"""

from leukoscope.smears.find import Finding, find_cells
from leukoscope.smears.kind import Kind, kind_of
from leukoscope.smears.ruler import RED_CELL_UM, Ruler
from leukoscope.smears.standard import STANDARD_UM_PER_PX, standard_cell
from leukoscope.smears.whitecells import WhiteCell

__all__ = [
    "RED_CELL_UM",
    "STANDARD_UM_PER_PX",
    "Finding",
    "Kind",
    "Ruler",
    "WhiteCell",
    "find_cells",
    "kind_of",
    "standard_cell",
]
