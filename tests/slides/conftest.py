"""What all tests of slides need."""

from __future__ import annotations

import pytest

pytest.importorskip("openslide", reason="the extra `slides` is not installed")
pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
pytest.importorskip("tifffile", reason="tifffile is not installed")
