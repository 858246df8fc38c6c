"""A slide painted for tests: empty glass, a single layer, a thick part; white cells of known place; in three forms."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from dicom.written import dataset, to_bytes
from smears.smear import CYTOPLASM, GROUND, NUCLEUS, PALE, RED

UM = 0.1875  # of a pixel: a red cell of 7.5 um has 40
SIDE, WINDOW, TILE = 40, 1024, 256
WIDTH, HEIGHT = 5120, 2048
ZONES = ("empty", "monolayer", "monolayer", "thick", "monolayer")  # of the columns of windows
#: Middles of white cells: in windows, on seams of two, on the corner of four, at the slide's edge, in the thick part.
PLACES = (
    (1500, 300), (2048, 500), (1600, 1024), (2048, 1024), (2600, 1600), (1100, 1900), (4600, 1024), (5112, 400),
    (3500, 700),
)  # fmt: skip
COUNTED = 8  # all but that in the thick part


def layer(seed: int) -> NDArray[np.uint8]:
    """Red cells side by side over the whole slide."""
    random = np.random.default_rng(seed)
    canvas = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    pitch = 1.35 * SIDE
    for y in np.arange(0.7 * SIDE, HEIGHT, pitch):
        for x in np.arange(0.7 * SIDE, WIDTH, pitch):
            at = tuple(round(16 * (v + random.uniform(-3, 3))) for v in (x, y))
            for share, colour in ((1.0, RED), (1 / 3, PALE)):
                cv2.circle(canvas, at, round(16 * share * SIDE / 2), colour, -1, cv2.LINE_AA, 4)
    return canvas


@cache
def painted() -> NDArray[np.uint8]:
    """The slide, uint8 [2048, 5120, 3]."""
    whole = layer(1)
    for x, y in PLACES:
        cv2.circle(whole, (x, y), 60, GROUND, -1, cv2.LINE_AA)
        cv2.circle(whole, (x, y), 37, CYTOPLASM, -1, cv2.LINE_AA)
        cv2.circle(whole, (x, y), 25, NUCLEUS, -1, cv2.LINE_AA)
    light = np.array(GROUND, float)
    for column, zone in enumerate(ZONES):
        part = np.s_[:, column * WINDOW : (column + 1) * WINDOW]
        if zone == "empty":
            whole[part] = GROUND
        if zone == "thick":
            product = whole[part].astype(float)
            for seed in (2, 3, 4):
                product *= layer(seed)[part] / light
            whole[part] = product.clip(0, 255).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-2, 3, whole.shape)
    return np.clip(cv2.GaussianBlur(whole, (0, 0), 1.0).astype(int) + noise, 0, 255).astype(np.uint8)


def levels(count: int = 3, part: Any = ...) -> list[NDArray[np.uint8]]:
    """The slide, or a part of it, and its lower levels, each a quarter as wide."""
    found = [painted()[part]]
    for _ in range(count - 1):
        found.append(np.asarray(cv2.resize(found[-1], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)))
    return found


def tiled(
    path: Path, *, um: float | None = UM, count: int = 3, part: Any = ..., compression: str = "jpeg", **options: Any
) -> Path:
    """As a pyramid TIFF, the levels one behind the other."""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, rgb in enumerate(levels(count, part)):
            per_cm = None if um is None else (1e4 / (um * 4**number),) * 2
            scale = {} if per_cm is None else {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
            file.write(
                rgb, tile=(TILE, TILE), photometric="rgb", compression=compression, subfiletype=int(number > 0),
                metadata=None, **scale, **options,
            )  # fmt: skip
    return path


def ome(path: Path, *, compression: str = "jpeg") -> Path:
    """As an OME-TIFF, the lower levels in SubIFDs."""
    whole, *lower = levels()
    metadata = {"axes": "YXS", "PhysicalSizeX": UM, "PhysicalSizeY": UM}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        common: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": compression}
        file.write(whole, subifds=len(lower), metadata=metadata, **common)
        for rgb in lower:
            file.write(rgb, subfiletype=1, metadata=None, **common)
    return path


def dicom(folder: Path, *, count: int = 3) -> Path:
    """As a folder of DICOM files, one for each level."""
    folder.mkdir(parents=True)
    series, study, frame = (generate_uid(prefix="2.25.") for _ in range(3))
    for number, rgb in enumerate(levels(count)):
        height, width = rgb.shape[:2]
        tiles = []
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                tile = np.full((TILE, TILE, 3), 255, np.uint8)
                part = rgb[top : top + TILE, left : left + TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                tiles.append(simplejpeg.encode_jpeg(tile, 90, "RGB", "422"))
        measures, groups, optical = Dataset(), Dataset(), Dataset()
        um = UM * 4**number
        measures.PixelSpacing, measures.SliceThickness = [um / 1000, um / 1000], 0.001
        groups.PixelMeasuresSequence = [measures]
        kind, plane = Dataset(), Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE" if number == 0 else "RESAMPLED"]
        groups.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
        plane.XOffsetInSlideCoordinateSystem, plane.YOffsetInSlideCoordinateSystem = 0, 0
        optical.OpticalPathIdentifier = "1"
        one = dataset(
            np.zeros((TILE, TILE, 3), np.uint8), kind="1.2.840.10008.5.1.4.1.1.77.1.6", syntax=JPEGBaseline8Bit,
            SeriesInstanceUID=series, StudyInstanceUID=study, FrameOfReferenceUID=frame, Modality="SM",
            ImageType=kind.FrameType, NumberOfFrames=len(tiles), TotalPixelMatrixColumns=width,
            TotalPixelMatrixRows=height, DimensionOrganizationType="TILED_FULL", InstanceNumber=number + 1,
            SharedFunctionalGroupsSequence=[groups], OpticalPathSequence=[optical], NumberOfOpticalPaths=1,
            TotalPixelMatrixOriginSequence=[plane], TotalPixelMatrixFocalPlanes=1, ContainerIdentifier="SLIDE-1",
            ImageOrientationSlide=[0, -1, 0, -1, 0, 0], ImagedVolumeWidth=width * um / 1000,
            ImagedVolumeHeight=height * um / 1000, ImagedVolumeDepth=0.001, SpecimenLabelInImage="NO",
        )  # fmt: skip
        one.PixelData = encapsulate(tiles)
        one["PixelData"].VR = "OB"
        (folder / f"level-{number}.dcm").write_bytes(to_bytes(one))
    return folder
