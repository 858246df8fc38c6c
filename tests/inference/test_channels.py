"""Red and blue swapped, as in arrays of OpenCV: noticed, referred, and undone where it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import leukoscope
from leukoscope.cells import read_picture


@pytest.fixture(scope="module")
def classifier() -> leukoscope.Classifier:
    return leukoscope.load(threads=1)


@pytest.mark.data
def test_real_cells_are_told_from_swapped_ones(classifier: leukoscope.Classifier, real_data: Path) -> None:
    pictures = [read_picture(path).rgb for path in sorted((real_data / "cnmc2019-originals").rglob("*.bmp"))[::3]]
    assert len(pictures) > 20
    for rgb in pictures:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        whole, swapped, undone = (
            classifier.predict(rgb),
            classifier.predict(bgr),
            classifier.predict(bgr, channels="bgr"),
        )
        assert "swapped channels" not in {finding.reason for finding in whole.findings}
        assert swapped.findings[0].reason == "swapped channels"
        assert swapped.decision == "refer"
        assert swapped.gate_score is not None
        assert swapped.gate_score > 1
        assert 'channels="bgr"' in (swapped.reason or "")
        assert (undone.logit, undone.decision, undone.findings) == (whole.logit, whole.decision, whole.findings)


def test_an_order_that_is_none(classifier: leukoscope.Classifier) -> None:
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        classifier.predict(np.zeros((9, 9, 3), np.uint8), channels="gbr")  # type: ignore[call-overload]
