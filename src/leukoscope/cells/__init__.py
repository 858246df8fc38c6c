"""What a picture is: decoding it, finding its cell, putting the cell into the frame that a network sees.

Needs NumPy, OpenCV and Pillow only. `prepare` is the one way from a picture to a frame, for training and for running.
"""

from leukoscope.cells.frame import FRAME_SIZE, Clahe, Preparation, cell_mask, clahe, frame_cell, prepare, resize_frame
from leukoscope.cells.read import MAX_PIXELS, Picture, decode, read_picture

__all__ = [
    "FRAME_SIZE",
    "MAX_PIXELS",
    "Clahe",
    "Picture",
    "Preparation",
    "cell_mask",
    "clahe",
    "decode",
    "frame_cell",
    "prepare",
    "read_picture",
    "resize_frame",
]
