"""DICOM files made for tests with pydicom alone, independent of the package."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

KINDS = {
    "microscopic": "1.2.840.10008.5.1.4.1.1.77.1.2",
    "slide coordinates": "1.2.840.10008.5.1.4.1.1.77.1.3",
    "photographic": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "secondary capture": "1.2.840.10008.5.1.4.1.1.7",
    "multi-frame": "1.2.840.10008.5.1.4.1.1.7.4",
}


def dataset(
    *frames: NDArray[np.uint8], kind: str = "microscopic", syntax: UID = ExplicitVRLittleEndian, **facts: Any
) -> Dataset:
    """A dataset of frames of one size; grey where they have two axes."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    first = frames[0]
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = KINDS.get(kind, kind)
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid(prefix="2.25.")
    one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(prefix="2.25."), generate_uid(prefix="2.25.")
    one.FrameOfReferenceUID = generate_uid(prefix="2.25.")
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "MRN-4711", "Doe^Jane", "20110203", "F"
    one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260102", "101112", "S1", "A1"
    one.ReferringPhysicianName, one.Modality, one.Manufacturer = "House^G", "SM" if "slide" in kind else "GM", "Maker"
    one.SeriesNumber, one.InstanceNumber = 1, 1
    one.Rows, one.Columns = first.shape[:2]
    one.SamplesPerPixel = 1 if first.ndim == 2 else 3
    one.PhotometricInterpretation = "MONOCHROME2" if first.ndim == 2 else "RGB"
    one.BitsAllocated = one.BitsStored = 8 * first.dtype.itemsize
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, 0
    if first.ndim == 3:
        one.PlanarConfiguration = 0
    if len(frames) > 1:
        one.NumberOfFrames = len(frames)
    if syntax == JPEGBaseline8Bit:
        one.PhotometricInterpretation = "YBR_FULL_422"
        one.PixelData = encapsulate([jpeg(frame) for frame in frames])
        one["PixelData"].VR = "OB"
    else:
        one.PixelData = b"".join(frame.tobytes() for frame in frames)
        one["PixelData"].VR = "OW" if first.dtype.itemsize == 2 else "OB"
    for name, value in facts.items():
        setattr(one, name, value)
    return one


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling="4:2:2")
    return buffer.getvalue()


def to_bytes(one: Dataset) -> bytes:
    buffer = BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
