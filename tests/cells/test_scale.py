"""The size of a pixel as files state it; TIFF written by tifffile and Pillow."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leukoscope.cells.read import decoded, stated_scale
from leukoscope.cells.scale import pixel_size

from .files import encode, noise

tifffile = pytest.importorskip("tifffile", reason="an independent writer of TIFF is needed")


def tiff(side: int = 40, **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, noise(side, side), photometric="rgb", **options)
    return buffer.getvalue()


def ome(**facts: Any) -> bytes:
    return tiff(ome=True, metadata={"axes": "YXS", **facts})


@pytest.mark.parametrize(
    ("data", "um", "source"),
    [
        (ome(PhysicalSizeX=0.05, PhysicalSizeY=0.05), 0.05, "OME"),
        (ome(PhysicalSizeX=50, PhysicalSizeXUnit="nm", PhysicalSizeY=50, PhysicalSizeYUnit="nm"), 0.05, "OME"),
        (tiff(resolution=(200_000, 200_000), resolutionunit="CENTIMETER"), 0.05, "TIFF"),
        (tiff(resolution=(254_000, 254_000), resolutionunit="INCH"), 0.1, "TIFF"),
        (tiff(imagej=True, resolution=(12.5, 12.5), metadata={"unit": "um"}), 0.08, "ImageJ"),
        (tiff(imagej=True, resolution=(12.5, 12.5), metadata={"unit": "micron"}), 0.08, "ImageJ"),
        (tiff(description="Aperio Image Library v1|AppMag = 40|MPP = 0.2527", metadata=None), 0.2527, "MPP"),
    ],
)
def test_stated_sizes(data: bytes, um: float, source: str) -> None:
    found = stated_scale(data, name="a.tif")
    assert found is not None
    assert found.um_per_px == pytest.approx(um, rel=1e-5)
    assert found.source.startswith(source)
    assert decoded(data, name="a.tif").scale == found


@pytest.mark.parametrize(
    "data",
    [
        encode(noise(), "TIFF"),
        encode(noise(), "TIFF", dpi=(72, 72)),
        encode(noise(), "TIFF", dpi=(300, 300)),
        tiff(resolution=(200_000, 100_000), resolutionunit="CENTIMETER"),  # pixels that are no squares
        tiff(resolution=(20, 20), resolutionunit="NONE"),
        tiff(imagej=True, resolution=(12.5, 12.5), metadata={"unit": "parsec"}),
        ome(PhysicalSizeX=0.05, PhysicalSizeY=0.05, PhysicalSizeXUnit="mm"),
        ome(PhysicalSizeX=25.4, PhysicalSizeY=25.4),
        ome(PhysicalSizeX=float("nan"), PhysicalSizeY=0.05),
        tiff(resolution=(0, 0), resolutionunit="CENTIMETER"),
        encode(noise(), "PNG"),
        tiff(resolution=(200_000, 200_000), resolutionunit="CENTIMETER")[:60],
    ],
)
def test_what_is_no_measurement_is_none(data: bytes) -> None:
    assert stated_scale(data, name="a.tif") is None


def test_the_picture_that_is_read_is_the_one_whose_size_counts() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as file:
        file.write(noise(20, 20), metadata={"axes": "YXS", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.4})
        file.write(noise(80, 80), metadata={"axes": "YXS", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1})
    found = stated_scale(buffer.getvalue(), name="a.tif")
    assert found is not None
    assert found.um_per_px == pytest.approx(0.1)


def test_units_and_bounds() -> None:
    assert pixel_size(0.1, 0.1, "\u00b5m", "x") == pixel_size(0.0001, None, "mm", "x")
    assert [pixel_size(size, size, "um", "x") is None for size in (0.009, 0.01, 1.0, 1.01)] == [
        True,
        False,
        False,
        True,
    ]
    assert pixel_size(-0.1, -0.1, "um", "x") is None


def test_grey_pictures_of_a_program_are_no_scale() -> None:
    buffer = BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(buffer, "TIFF", resolution=96.0)
    assert stated_scale(buffer.getvalue(), name="a.tif") is None
