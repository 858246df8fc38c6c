"""Red and blue swapped, as in arrays of OpenCV: noticed, referred, and undone where it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import leukoscope
from leukoscope.cells import read_picture
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import PictureError
from smears.smear import with_red_cells


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


def test_every_call_takes_the_order(classifier: leukoscope.Classifier) -> None:
    cell = render_cell(2, "blast")
    field = with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75).picture()
    for rgb in (cell, field):
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        straight = [each.logit for each in classifier.predict_many([rgb], fields=True)]
        assert [each.logit for each in classifier.predict_many([bgr], fields=True, channels="bgr")] == straight
        assert [each.logit for each in classifier.read_field(bgr, channels="bgr")] == straight


def test_predict_takes_a_picture_of_one_cell_on_black_or_not(classifier: leukoscope.Classifier) -> None:
    one = with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75).picture()
    (alone,) = classifier.read_field(one)
    assert classifier.predict(one).logit == alone.logit
    two = with_red_cells(60, leave=(320, 240, 150)).white(250, 240, 110, 75).white(400, 240, 110, 75).picture()
    with pytest.raises(PictureError, match=r"shows 2 white cells, not one; use Classifier\.read_field"):
        classifier.predict(two)
    told = classifier.predict([two, one])
    assert [each.decision == "unreadable" for each in told] == [True, False]
    with pytest.raises(PictureError, match="no white cell was found"):
        classifier.predict(with_red_cells(60).picture())
    with pytest.raises(PictureError, match=r"as Classifier\.read_field has it: the field is blank"):
        classifier.predict(np.full((480, 640, 3), 220, np.uint8))
