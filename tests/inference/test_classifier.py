"""The classifier's answers against arithmetic done by hand, and its behaviour on bad input."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leukoscope
from bundle_factory import by_hand, disc, make_bundle, make_graph
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.frame import Preparation, prepare
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import BundleError, PictureError
from leukoscope.inference.cells import CellReader
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.sources import find_pictures

COLOURS = [(200, 30, 90), (10, 250, 10), (255, 255, 255), (90, 20, 160), (60, 200, 60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("classifier") / "bundle")


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return load(folder, threads=2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for i, colour in enumerate(COLOURS):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(disc(colour, radius=15 + i)).save(paths[-1])
    return paths


@pytest.mark.parametrize("colour", COLOURS)
def test_one_picture_is_answered_as_by_hand(classifier: Classifier, colour: tuple[int, int, int]) -> None:
    picture = disc(colour)
    answer = classifier.predict(picture)
    frame = prepare(picture, Preparation(frame_size=64))
    logit, heatmap, embedding = by_hand(frame)
    assert answer.logit == pytest.approx(logit, abs=1e-5)
    assert answer.probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
    assert answer.decision == ("blast" if logit >= 0 else "normal")
    np.testing.assert_array_equal(answer.frame, frame)
    np.testing.assert_allclose(answer.heatmap, heatmap, atol=1e-5)
    np.testing.assert_allclose(answer.embedding, embedding, atol=1e-5)
    assert (answer.path, answer.sha256, answer.error, answer.model) == (None, None, None, "by-hand")


def test_a_file_is_answered_with_its_hash_and_times(classifier: Classifier, files: list[Path]) -> None:
    answer = classifier.predict(files[0])
    assert answer.path == str(files[0])
    assert answer.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert list(answer.timings) == ["read", "prepare", "graph"]
    assert answer.ms == pytest.approx(sum(answer.timings.values()))
    assert list(answer.to_json()) == [
        "path",
        "sha256",
        "probability",
        "logit",
        "decision",
        "model",
        "ms",
        "error",
        "reason",
        "gate",
        "gate_score",
        "findings",
        "cell",
        "place",
    ]


def test_temperature_and_threshold_decide(tmp_path: Path) -> None:
    picture = disc((200, 30, 90))
    logit, _, _ = by_hand(prepare(picture, Preparation(frame_size=64)))
    expected = 1 / (1 + math.exp(-logit / 2.5))
    for shift, decision in ((-1e-4, "blast"), (1e-4, "normal")):
        rule = {"threshold": expected + shift, "temperature": 2.5}
        answer = load(make_bundle(tmp_path / decision, decision=rule)).predict(picture)
        assert answer.probability == pytest.approx(expected, abs=1e-5)
        assert answer.decision == decision


def test_a_probability_at_the_threshold_is_a_blast(tmp_path: Path) -> None:
    graph = make_graph(weights=np.zeros(3, np.float32), bias=0.0)
    answer = load(make_bundle(tmp_path, graph=graph)).predict(disc((200, 30, 90)))
    assert (answer.probability, answer.decision) == (0.5, "blast")


def test_no_number_is_no_answer(tmp_path: Path) -> None:
    graph = make_graph(weights=np.full(3, np.nan, np.float32))
    answer = load(make_bundle(tmp_path, graph=graph)).predict(disc((200, 30, 90)))
    assert (answer.decision, answer.probability, answer.logit) == ("unreadable", None, None)
    assert "no finite answer" in (answer.error or "")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_a_bad_picture_never_stops_the_rest_and_order_is_kept(
    folder: Path, files: list[Path], tmp_path: Path, threads: int, batch_size: int
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("RGB", (50, 50)).save(tmp_path / "black.png")
    sources = [
        files[0], tmp_path / "text.png", files[1], PictureError("known bad", path="x"), tmp_path / "none.png",
        tmp_path, tmp_path / "black.png", np.zeros((4, 4), np.uint8), disc(COLOURS[2]), files[3],
    ]  # fmt: skip
    told: list[int] = []
    answers = list(load(folder, threads=threads).predict_many(sources, batch_size, told.append))
    bad = [answer.decision == "unreadable" for answer in answers]
    assert bad == [False, True, False, True, True, True, True, True, False, False]
    assert [a.path for a in answers] == [
        str(s) if isinstance(s, Path) else "x" if i == 3 else None for i, s in enumerate(sources)
    ]
    assert all(answer.error and answer.logit is None for answer, is_bad in zip(answers, bad, strict=True) if is_bad)
    assert sum(told) == len(sources)
    assert answers[6].sha256 == hashlib.sha256((tmp_path / "black.png").read_bytes()).hexdigest()
    for i, source in ((0, files[0]), (2, files[1]), (9, files[3])):
        assert answers[i].logit == pytest.approx(load(folder).predict(source).logit, abs=1e-5)


def test_an_answer_does_not_depend_on_its_neighbours(classifier: Classifier) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), np.uint8)
    together = classifier.predict_frames(frames)
    for i in range(17):
        for whole, alone in zip(together, classifier.predict_frames(frames[i : i + 1]), strict=True):
            np.testing.assert_array_equal(whole[i], alone[0])
    backwards = classifier.predict_frames(frames[::-1])  # also: an array that is not contiguous
    np.testing.assert_array_equal(backwards[0][::-1], together[0])


def test_frames_shapes(classifier: Classifier) -> None:
    logit, heatmap, embedding = classifier.predict_frames(np.zeros((0, 64, 64, 3), np.uint8))
    assert (logit.shape, heatmap.shape, embedding.shape) == ((0,), (0, 2, 2), (0, 3))
    for wrong in (np.zeros((1, 63, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3))):
        with pytest.raises(PictureError, match=r"uint8 \[N, 64, 64, 3\]"):
            classifier.predict_frames(wrong)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((0, 9, 3), np.uint8)],
)
def test_a_wrong_array_is_told(classifier: Classifier, wrong: np.ndarray) -> None:
    with pytest.raises(PictureError, match="uint8"):
        classifier.predict(wrong)
    assert [answer.decision for answer in classifier.predict([wrong])] == ["unreadable"]


def test_one_missing_picture_raises(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(PictureError) as caught:
        classifier.predict(tmp_path / "none.png")
    assert str(tmp_path / "none.png") in str(caught.value)


def test_bounds_of_arguments(classifier: Classifier, folder: Path) -> None:
    with pytest.raises(ValueError, match="threads"):
        load(folder, threads=0)
    with pytest.raises(ValueError, match="batch_size"):
        next(classifier.predict_many([], batch_size=0))
    assert classifier.predict([]) == []


def test_max_pixels(classifier: Classifier, files: list[Path]) -> None:
    answers = list(classifier.predict_many(files, max_pixels=80 * 80 - 1))
    assert {answer.decision for answer in answers} == {"unreadable"}
    assert {a.decision for a in classifier.predict_many(files, max_pixels=80 * 80)} == {"blast", "normal"}


@pytest.mark.parametrize(
    "graph",
    [b"not a graph", make_graph(output="score"), make_graph(frame=32)],
    ids=["no graph", "other output", "other frame"],
)
def test_a_foreign_graph_is_refused(tmp_path: Path, graph: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        load(make_bundle(tmp_path, graph=graph))
    assert caught.value.path == str(tmp_path / "model.onnx")


def test_decoding_keeps_ahead_by_a_batch_and_no_more() -> None:
    taken = 0

    def sources():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield PictureError("x", path="x")

    batches = CellReader(Preparation(frame_size=64)).read_all(sources(), batch_size=4, threads=2)
    for done in range(1, 20):
        assert len(next(batches)) == 4
        assert taken <= 4 * (done + 2)
    batches.close()


def test_memory_is_flat(classifier: Classifier) -> None:
    """Peak memory of a stream does not grow with its length: 400 frames alone would take 4.9 MB."""

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in classifier.predict_many((disc(COLOURS[i % 5]) for i in range(count)), batch_size=8):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(16)
    assert peak(400) < 1.5 * peak(64) + 100_000


def test_the_package_is_light_until_used() -> None:
    code = (
        "import sys, leukoscope; heavy = {'numpy', 'cv2', 'onnxruntime', 'pydantic', 'torch'};"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules));"
        "leukoscope.load; assert 'onnxruntime' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONWARNINGS": "error"})


def test_the_public_names() -> None:
    assert set(leukoscope.__all__) <= set(dir(leukoscope))
    assert leukoscope.Classifier is Classifier
    assert leukoscope.load is load
    assert dataclasses.is_dataclass(leukoscope.Prediction)
    with pytest.raises(AttributeError, match="nonsense"):
        leukoscope.nonsense  # noqa: B018


def test_repr_names_the_bundle(folder: Path) -> None:
    assert repr(Classifier(read_bundle(folder), threads=2)) == "Classifier('by-hand', threads=2)"


@pytest.mark.data
def test_real_cells_are_read_and_answered_as_by_hand(real_data: Path, tmp_path: Path) -> None:
    """Original bitmaps of C-NMC 2019, through the whole way from file to answer."""
    pictures = find_pictures([real_data / "cnmc2019-originals"])[:24]
    answers = list(load(make_bundle(tmp_path, frame=450), threads=2).predict_many(pictures, batch_size=7))
    assert len(answers) == 24
    for picture, answer in zip(pictures, answers, strict=True):
        assert isinstance(picture, Path)
        frame = prepare(np.asarray(Image.open(picture).convert("RGB")), Preparation())
        logit, heatmap, _ = by_hand(frame)
        assert answer.logit == pytest.approx(logit, abs=1e-4)  # single precision over 50,625 pixels a block
        np.testing.assert_allclose(answer.heatmap, heatmap, atol=1e-4)


def test_whatever_holds_a_picture_is_read_alike(tmp_path: Path) -> None:
    cell = render_cell(1, "blast")
    Image.fromarray(cell).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    classifier = leukoscope.load(threads=1)
    expected = classifier.predict(cell).logit
    written = io.BytesIO()
    Image.fromarray(cell).save(written, "PNG")
    for source in (
        written,
        content,
        bytearray(content),
        io.BytesIO(content),
        Image.fromarray(cell),
        tmp_path / "a.png",
    ):
        assert classifier.predict(source).logit == expected
    assert [each.logit for each in classifier.predict([content, cell])] == [expected, expected]


@pytest.mark.parametrize("source", [b"", b"<html>", 7, None, {"a": 1}, io.BytesIO(b"BM")])
def test_what_is_no_picture_is_a_picture_error_with_a_remedy(source: object) -> None:
    classifier = leukoscope.load(threads=1)
    with pytest.raises(PictureError) as caught:
        classifier.predict(source)
    assert caught.value.remedy
    assert classifier.predict([source])[0].decision == "unreadable"


def test_answers_and_classifiers_pickle_copy_and_convert() -> None:
    classifier = leukoscope.load(threads=1)
    answer = classifier.predict(render_cell(2, "normal"))
    for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer), copy.copy(answer)):
        assert (again.logit, again.decision, again.findings) == (answer.logit, answer.decision, answer.findings)
        np.testing.assert_array_equal(again.heatmap, answer.heatmap)
    assert dataclasses.asdict(answer)["logit"] == answer.logit
    assert pickle.loads(pickle.dumps(classifier)).predict(render_cell(2, "normal")).logit == answer.logit
