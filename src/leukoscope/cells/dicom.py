"""Pictures in DICOM files, by pydicom: bounds are checked on the header, before a pixel is unpacked.

Needs the extra `dicom`. One frame is one picture; files of several frames are taken apart by the room `dicom`.
"""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.limits import check_cost, check_size
from leukoscope.cells.scale import PixelSize, pixel_size
from leukoscope.errors import PictureError, optional

WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
_COLOURS: Final = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR", "MONOCHROME1", "MONOCHROME2"}
)
_DAMAGED: Final = "send or export it again"

# What pydicom warns of (values against the standard) names no file; a filter for good, as threads decode.
warnings.filterwarnings("ignore", module=r"pydicom\.")


def read_dicom(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """The one picture of a DICOM file as 8-bit RGB.

    Args:
        data: the bytes of the file.
        name: what to call the picture in errors.
        max_pixels: bound on width times height.

    Returns:
        uint8 [H, W, 3].

    Raises:
        MissingExtraError: pydicom is not installed.
        PictureError: the file is damaged, holds no picture or several, is too large or packed in a way not read.
        Costly: another process is to decode it.
    """
    dataset = read_dataset(data, name)
    frames = check_dataset(dataset, name, max_pixels)
    if dataset.get("SOPClassUID") == WHOLE_SLIDE and frames > 1:
        raise PictureError("is a level of a whole slide", path=name, remedy="use `leukoscope slide` on its folder")
    if frames > 1:
        raise PictureError(
            f"the DICOM file holds {frames} pictures", path=name, remedy="take it apart with `leukoscope dicom get`"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    plain = syntax.is_transfer_syntax and not syntax.is_encapsulated
    check_cost(int(dataset.Rows) * int(dataset.Columns) if plain else math.inf)  # nothing bounds a packed frame
    return frame_rgb(dataset, 0, name)


def dicom_scale(data: bytes) -> PixelSize | None:
    """The size of a pixel that a DICOM file states; None where it states none, or cannot be read."""
    try:
        return dataset_scale(read_dataset(data, "", pixels=False))
    except PictureError:
        return None


def read_dataset(data: bytes, name: str, *, pixels: bool = True) -> Any:
    """A `pydicom.Dataset` of the bytes of a file.

    Args:
        data: the bytes.
        name: what to call the file in errors.
        pixels: whether it holds pixels, not yet unpacked; without them reading ends sooner.

    Raises:
        MissingExtraError: pydicom is not installed.
        PictureError: the file is no DICOM, damaged or cut short.
    """
    pydicom = optional("pydicom", "a DICOM file", "dicom")
    config = optional("pydicom.config", "a DICOM file", "dicom")
    config.settings.reading_validation_mode = config.IGNORE  # a value against the standard costs no pixel
    try:
        dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=not pixels)
        dataset.file_meta.TransferSyntaxUID  # noqa: B018  (raises where it is missing)
    except Exception as error:  # pydicom raises nearly any built-in error on damaged data
        raise PictureError(
            f"the DICOM file is damaged or cut short ({_why(error)})", path=name, remedy=_DAMAGED
        ) from error
    return dataset


def check_dataset(dataset: Any, name: str, max_pixels: int) -> int:
    """The number of frames of a dataset whose pictures can be read; nothing is unpacked for it.

    Raises:
        PictureError: it holds no picture, is too large, or of a kind that is not read.
    """
    kind = getattr(dataset.get("SOPClassUID"), "name", None) or "unknown kind"
    if "PixelData" not in dataset:
        raise PictureError(f"is DICOM without a picture ({kind})", path=name, remedy="give pictures")
    try:
        width, height = int(dataset.Columns), int(dataset.Rows)
        frames = int(dataset.get("NumberOfFrames") or 1)
        colours, bands, bits = (
            str(dataset.PhotometricInterpretation),
            int(dataset.SamplesPerPixel),
            int(dataset.BitsAllocated),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise PictureError(
            f"the DICOM header lacks what a picture needs ({_why(error)})", path=name, remedy=_DAMAGED
        ) from error
    if width < 1 or height < 1 or frames < 1:
        raise PictureError("the DICOM header names a picture without pixels", path=name, remedy=_DAMAGED)
    check_size((width, height), name, max_pixels)
    if colours not in _COLOURS or bands not in (1, 3) or bits not in (8, 16):
        raise PictureError(
            f"holds {bands} bands of {bits} bits in {colours}, which is not read", path=name, remedy="export it as RGB"
        )
    return frames


def frame_rgb(dataset: Any, frame: int, name: str) -> NDArray[np.uint8]:
    """One frame of a dataset that `check_dataset` passed, uint8 [H, W, 3].

    Raises:
        PictureError: the frame is damaged, missing or packed in a way for which no decoder is here.
    """
    pixels = optional("pydicom.pixels", "a DICOM file", "dicom")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = pixels.get_decoder(syntax)
        usable = decoder.is_available
    except NotImplementedError:
        usable = False
    if not usable:
        raise PictureError(
            f"is packed by {getattr(syntax, 'name', syntax)}, for which no decoder is here", path=name,
            remedy="unpack it first, for example with dcmdjpeg or gdcmconv --raw",
        )  # fmt: skip
    try:
        values = np.asarray(pixels.pixel_array(dataset, index=frame))
        colours = str(dataset.PhotometricInterpretation)
        if colours == "PALETTE COLOR":
            values = pixels.apply_color_lut(values, dataset)
            return _eight(values, 16 if values.dtype.itemsize == 2 else 8)
        grey = _eight(values, int(dataset.get("BitsStored") or dataset.BitsAllocated))
    except Exception as error:  # so do its decoders
        raise PictureError(
            f"the pixels of the DICOM file are damaged or cut short ({_why(error)})", path=name, remedy=_DAMAGED
        ) from error
    if grey.ndim == 3:
        return np.ascontiguousarray(grey)
    return np.repeat((255 - grey if colours == "MONOCHROME1" else grey)[..., None], 3, axis=2)


def dataset_scale(dataset: Any) -> PixelSize | None:
    """The size of a pixel: `PixelSpacing`, of all frames or of the picture, or that of a scanned document."""
    try:
        for group in dataset.get("SharedFunctionalGroupsSequence") or ():
            for measures in group.get("PixelMeasuresSequence") or ():
                return _spacing(measures.PixelSpacing, "DICOM PixelSpacing")
        for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
            if dataset.get(keyword):
                return _spacing(dataset.get(keyword), f"DICOM {keyword}")
    except (AttributeError, TypeError, ValueError, IndexError):
        pass
    return None


def _spacing(values: Any, source: str) -> PixelSize | None:
    return pixel_size(float(values[1]), float(values[0]), "mm", source)


def _eight(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Levels of so many bits as 0 to 255."""
    if bits == 8 and values.dtype == np.uint8:
        return values
    if values.dtype.kind == "i":
        raise ValueError("levels with a sign")
    most = 2**bits - 1
    return np.asarray((np.minimum(values, most).astype(np.uint32) * 255 + most // 2) // most, np.uint8)


def _why(error: Exception) -> str:
    return " ".join(f"{error}".split())[:160] or type(error).__name__
