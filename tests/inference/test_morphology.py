"""Percentiles, the place of the heat map, and how both reach the answers of `predict`."""

from __future__ import annotations

import html
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundle_factory import make_bundle
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.cutout import cutout, cutout_of_frame, view
from leukoscope.cells.measure import UNITS
from leukoscope.cells.segment import Segmentation, divide, segment
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.batch import run_batch
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.morphology import Reference, locate, measure_cell, percentile, shipped_reference, summarise
from leukoscope.inference.words import words
from leukoscope.inference.writers import CELL_COLUMNS

FRAME = 160


@given(st.lists(st.integers(0, 30), min_size=101, max_size=101), st.integers(-2, 32))
def test_percentiles_with_ties_against_counting(values: list[int], value: int) -> None:
    quantiles = np.sort(np.array(values, float))
    found = percentile(quantiles, value)
    if value in values:
        places = np.flatnonzero(quantiles == value)
        assert found == pytest.approx((places[0] + places[-1]) / 2)
    else:
        below = int((quantiles < value).sum())
        assert max(0, below - 1) <= found <= min(100, below)


def test_percentiles_between_quantiles() -> None:
    quantiles = np.linspace(0, 1000, 101) ** 1.5
    for share in (0.003, 0.31, 0.997):
        value = np.interp(100 * share, np.arange(101), quantiles)
        assert percentile(quantiles, float(value)) == pytest.approx(100 * share)


def test_the_shipped_reference_is_whole_and_orders_the_sizes() -> None:
    reference = shipped_reference()
    assert len(reference.fingerprint) == 64
    assert set(reference.quantiles) <= set(UNITS)
    small, large = (reference.standing("cell_diameter", value) for value in (150, 250))
    assert small is not None
    assert large is not None
    assert small.blast < small.normal < large.normal
    assert small.blast < large.blast < large.normal  # blasts are larger
    assert reference.standing("cell_area_um2", 100.0) is None  # the scale of these pictures is not known


@pytest.mark.parametrize("quantiles", [[1.0] * 100, [2.0, 1.0] + [3.0] * 99, [float("nan")] * 101])
def test_a_damaged_reference_is_refused(quantiles: list[float]) -> None:
    measurements = {"cell_area": {kind: {"quantiles": quantiles} for kind in ("normal", "blast")}}
    with pytest.raises(LeukoscopeError, match="cell_area"):
        Reference.from_json({"data": "x", "fingerprint": "y", "measurements": measurements})


def left_and_right() -> Segmentation:
    """A cell of 8 columns, its nucleus the left 4 of them, in a frame of 16 x 16."""
    whole = np.zeros((16, 16), bool)
    whole[:, 4:12] = True
    seen = view(cutout(np.zeros((16, 16, 3), np.uint8), whole), 1)
    nucleus = seen.outline.copy()
    nucleus[:, 4:] = False
    return Segmentation(seen, seen.outline, nucleus, nucleus, True, 5.0)


def test_where_the_map_lies_by_hand() -> None:
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[:, 0], heatmap[:, 1], heatmap[:, 2], heatmap[0, 3] = 1, 2, -3, np.nan
    found = locate(heatmap, left_and_right())
    assert found.cell == 0.5
    assert found.blast_share == pytest.approx(12 / 24)
    assert found.blast == pytest.approx({"cell": 2 / 3, "nucleus": 2 / 3, "cytoplasm": 0, "outside": 1 / 3})
    assert found.normal == pytest.approx({"cell": 1, "nucleus": 0, "cytoplasm": 1, "outside": 0})
    mirrored = locate(np.ascontiguousarray(heatmap[:, ::-1]), left_and_right())
    assert mirrored.blast == pytest.approx({"cell": 2 / 3, "nucleus": 0, "cytoplasm": 2 / 3, "outside": 1 / 3})
    flipped = locate(-heatmap, left_and_right())
    assert (flipped.blast, flipped.normal) == (found.normal, found.blast)


def test_where_a_map_lies_is_that_of_areas_by_opencv() -> None:
    """Any map over any cell, at any step: the share of each field that a part covers, resized by areas."""
    heatmap = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    cut = cutout_of_frame(render_cell(3, "blast", size=300))
    for step, within in ((1, 1e-6), (2, 1e-3)):
        parts = divide(view(cut, step))
        covered = cv2.resize(parts.outline.astype(np.float32), (5, 7), interpolation=cv2.INTER_AREA)
        found = locate(heatmap, parts)
        assert found.blast is not None
        positive = np.maximum(heatmap, 0)
        assert found.blast["cell"] == pytest.approx((positive * covered).sum() / positive.sum(), abs=within)
        assert found.cell == pytest.approx(covered.mean(), abs=1e-6)


def test_fields_that_a_part_covers_in_part_count_in_part() -> None:
    found = locate(np.ones((1, 2), np.float32), left_and_right())
    assert found.blast == pytest.approx({"cell": 0.5, "nucleus": 0.25, "cytoplasm": 0.25, "outside": 0.5})
    assert found.normal is None
    assert locate(np.zeros((2, 2), np.float32), left_and_right()).blast_share is None


def test_a_summary_is_json_and_holds_every_measurement() -> None:
    found = summarise(measure_cell(cutout_of_frame(render_cell(2, "blast"))), np.ones((7, 7), np.float32))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["measurements"]) == list(UNITS)
    for entry in found["measurements"].values():
        assert ("undefined" in entry) == (entry["value"] is None)
    assert found["measurements"]["cell_area_um2"]["undefined"]
    assert 0 <= found["measurements"]["cell_diameter"]["blast_percentile"] <= 100


def test_only_blasts_is_what_the_map_of_ones_says() -> None:
    found = summarise(measure_cell(cutout_of_frame(render_cell(2, "blast"))), np.ones((9, 9), np.float32))
    share = found["evidence"]["cell_share_of_frame"]
    assert found["evidence"]["blast"]["cell"] == pytest.approx(share, abs=1e-3)  # an even map lies there by chance
    assert "holds evidence for blast alone" in words("blast", found)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = make_bundle(tmp_path_factory.mktemp("bundle") / "b", frame=FRAME)
    return Classifier(read_bundle(folder), threads=2)


def test_measured_on_the_picture_as_it_came_not_on_the_equalised_frame(tmp_path: Path) -> None:
    """CLAHE changes the frame that the network sees; it must not change what is measured."""
    picture = render_cell(4, "normal", size=FRAME)
    answers = []
    for name, clahe in (("plain", None), ("equalised", {"clip_limit": 4.0, "tiles": 4})):
        preparation = {"frame_size": FRAME, "clahe": clahe}
        folder = make_bundle(tmp_path / name, frame=FRAME, preparation=preparation)
        answers += Classifier(read_bundle(folder), threads=1).predict_many([picture], morphology=True)
    plain, equalised = answers
    assert plain.frame is not None
    assert equalised.frame is not None
    assert not np.array_equal(plain.frame, equalised.frame)
    assert plain.morphology is not None
    assert equalised.morphology is not None
    assert plain.morphology["measurements"] == equalised.morphology["measurements"]


def test_predict_many_measures_only_when_asked(classifier: Classifier) -> None:
    sources = [
        render_cell(1, "blast", size=FRAME),
        PictureError("is missing", path="x.png"),
        render_cell(2, "normal", size=FRAME),
    ]
    plain = list(classifier.predict_many(sources))
    told = list(classifier.predict_many(sources, morphology=True))
    assert all(answer.morphology is None and answer.words is None for answer in plain)
    assert all("words" not in answer.to_json() for answer in plain)
    assert [answer.logit for answer in told] == [answer.logit for answer in plain]
    assert told[1].morphology is None
    assert told[1].words == "No answer: the picture could not be read."
    for answer, source in ((told[0], sources[0]), (told[2], sources[2])):
        assert answer.morphology is not None
        assert answer.words == words(answer.decision, answer.morphology)
        assert answer.timings["measure"] > 0
        assert isinstance(source, np.ndarray)
        area = answer.morphology["measurements"]["cell_area"]["value"]
        assert area == pytest.approx(segment(source).cell.sum(), rel=0.01)


def test_in_json_lines_and_in_the_gallery(classifier: Classifier, tmp_path: Path) -> None:
    picture = tmp_path / "cell.png"
    Image.fromarray(render_cell(6, "blast", size=FRAME)).save(picture)
    lines: list[str] = []
    run_batch(classifier, [picture], format="jsonl", emit=lines.append, morphology=True)
    answer = json.loads(lines[0])
    assert answer["words"].startswith(f"Decision {answer['decision']}")
    assert answer["morphology"]["measurements"]["cell_area"]["value"] > 0
    run_batch(classifier, [picture], format="jsonl", emit=lines.append)
    assert "words" not in json.loads(lines[1])
    run_batch(classifier, [picture], format="html", out=tmp_path / "gallery")
    page = (tmp_path / "gallery" / "report.html").read_text()
    assert answer["words"] in html.unescape(page)
    assert "they are not the network's reasons" in html.unescape(page)
    run_batch(classifier, [picture], format="html", out=tmp_path / "gallery", morphology=False)
    assert "Measured" not in (tmp_path / "gallery" / "report.html").read_text()
    run_batch(classifier, [picture], format="csv", emit=lines.append, morphology=True)
    assert lines[2].count(",") == len(CELL_COLUMNS) - 1
    assert "Decision" not in lines[3]


def test_the_scale_of_the_bundle_gives_micrometres(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b", frame=FRAME, um_per_px=0.25)
    (answer,) = Classifier(read_bundle(folder), threads=1).predict_many(
        [render_cell(1, "blast", size=FRAME)], morphology=True
    )
    assert answer.morphology is not None
    found = answer.morphology["measurements"]
    assert found["cell_diameter_um"]["value"] == pytest.approx(found["cell_diameter"]["value"] / 4, rel=1e-4)
    assert found["cell_area_um2"]["value"] == pytest.approx(found["cell_area"]["value"] / 16, rel=1e-4)
