"""Pictures in DICOM files: pixels against those written; and broken ones, each with a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import MPEG2MPML, UID, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

from leukoscope.cells.read import decoded
from leukoscope.errors import PictureError

from .written import KINDS, dataset, jpeg, to_bytes

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (40, 52, 3), np.uint8)
GREY = RANDOM.integers(0, 256, (40, 52), np.uint8)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_pixels_of_each_kind(kind: str) -> None:
    assert np.array_equal(decoded(to_bytes(dataset(COLOUR, kind=kind)), name="a.dcm").rgb, COLOUR)


def test_grey_levels_and_what_is_inverted() -> None:
    wide = RANDOM.integers(0, 4096, (40, 52)).astype(np.uint16)
    expected = np.rint(wide.astype(float) * 255 / 4095).astype(int)
    found = decoded(to_bytes(dataset(wide, BitsStored=12, HighBit=11)), name="a.dcm").rgb
    assert np.array_equal(found, np.repeat(expected[..., None], 3, 2))
    inverted = decoded(to_bytes(dataset(GREY, PhotometricInterpretation="MONOCHROME1")), name="a.dcm").rgb
    assert np.array_equal(inverted[..., 0], 255 - GREY)


def test_packed_pixels() -> None:
    smooth = np.asarray(Image.fromarray(COLOUR[:8, :8]).resize((64, 48), Image.Resampling.BICUBIC))
    found = decoded(to_bytes(dataset(smooth, syntax=JPEGBaseline8Bit)), name="a.dcm").rgb
    expected = np.asarray(Image.open(BytesIO(jpeg(smooth))).convert("RGB"))
    assert np.abs(found.astype(int) - expected).max() <= 2
    packed = dataset(COLOUR)
    packed.compress(RLELossless)
    assert np.array_equal(decoded(to_bytes(packed), name="a.dcm").rgb, COLOUR)


def test_spacing_is_the_scale() -> None:
    assert decoded(to_bytes(dataset(COLOUR)), name="a.dcm").scale is None
    found = decoded(to_bytes(dataset(COLOUR, PixelSpacing=[5e-5, 5e-5])), name="a.dcm").scale
    assert found is not None
    assert (found.um_per_px, found.source) == (pytest.approx(0.05), "DICOM PixelSpacing")
    assert decoded(to_bytes(dataset(COLOUR, PixelSpacing=[0.35, 0.35])), name="a.dcm").scale is None  # a screen's
    assert decoded(to_bytes(dataset(COLOUR, PixelSpacing=[5e-5, 9e-5])), name="a.dcm").scale is None
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [8e-5, 8e-5]
    groups.PixelMeasuresSequence = [measures]
    found = decoded(to_bytes(dataset(COLOUR, SharedFunctionalGroupsSequence=[groups])), name="a.dcm").scale
    assert found is not None
    assert found.um_per_px == pytest.approx(0.08)


def with_private_tags() -> bytes:
    one = dataset(COLOUR)
    block = one.private_block(0x0019, "MAKER", create=True)
    block.add_new(0x01, "OB", bytes(range(256)))
    block.add_new(0x02, "LO", "x" * 300)
    return to_bytes(one)


def test_private_tags_and_values_against_the_standard_cost_no_pixel() -> None:
    assert np.array_equal(decoded(with_private_tags(), name="a.dcm").rgb, COLOUR)
    strange = dataset(COLOUR)
    data = to_bytes(strange).replace(b"20110203", b"not-date")
    assert np.array_equal(decoded(data, name="a.dcm").rgb, COLOUR)


def changed(change: Callable[[Dataset], Any]) -> bytes:
    one = dataset(COLOUR)
    change(one)
    return to_bytes(one)


def relabelled(syntax: UID) -> bytes:
    """Pixels that the header says are packed in another way."""
    one = dataset(COLOUR, syntax=JPEGBaseline8Bit)
    one.file_meta.TransferSyntaxUID = syntax
    return to_bytes(one)


WHOLE = to_bytes(dataset(COLOUR))
BROKEN = {
    "cut within the pixels": (WHOLE[:-500], "damaged or cut short"),
    "cut within the header": (WHOLE[:300], "lacks what a picture needs|without a picture|damaged"),
    "only the preamble": (WHOLE[:132], "damaged or cut short"),
    "noise behind the preamble": (WHOLE[:132] + RANDOM.bytes(4000), "damaged|without a picture"),
    "no rows": (changed(lambda one: delattr(one, "Rows")), "lacks what a picture needs"),
    "no pixels": (changed(lambda one: delattr(one, "PixelData")), "is DICOM without a picture"),
    "zero columns": (changed(lambda one: setattr(one, "Columns", 0)), "names a picture without pixels"),
    "more rows than pixels": (changed(lambda one: setattr(one, "Rows", 400)), "damaged or cut short"),
    "huge": (changed(lambda one: one.update({"Rows": 65535, "Columns": 65535})), "more than the 100,000,000"),
    "a colour space that is not read": (
        changed(lambda one: setattr(one, "PhotometricInterpretation", "HSV")), "in HSV, which is not read",
    ),
    "bits that are not read": (changed(lambda one: setattr(one, "BitsAllocated", 32)), "bands of 32 bits"),
    "several frames": (to_bytes(dataset(COLOUR, COLOUR)), "holds 2 pictures; take it apart with `leukoscope dicom"),
    "a JPEG that is none": (
        to_bytes(dataset(COLOUR, syntax=JPEGBaseline8Bit)).replace(b"\xff\xd8\xff", b"\0\0\0"),
        "damaged or cut short",
    ),
    "packed without a decoder": (relabelled(JPEGLosslessSV1), "for which no decoder is here|damaged"),
    "a video": (relabelled(MPEG2MPML), "for which no decoder is here"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_files_are_told(name: str) -> None:
    data, line = BROKEN[name]
    with pytest.raises(PictureError, match=line) as caught:
        decoded(data, name="a.dcm")
    assert caught.value.remedy
    assert caught.value.path == "a.dcm"


def test_without_the_extra_its_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(WHOLE)
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from leukoscope.inference.classifier import load\n"
        "print(next(iter(load().predict_many([sys.argv[1]]))).error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.dcm")], capture_output=True, text=True, check=True
    )
    assert "run: pip install 'leukoscope[dicom]'" in done.stdout
