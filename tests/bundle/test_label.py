"""What a graph says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bundle_factory import make_graph
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.label import PREPARATION
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.cells.frame import Clahe, Preparation
from leukoscope.errors import BundleError
from leukoscope.inference.classifier import Classifier


def made(tmp_path: Path, name: str = "made") -> Bundle:
    return Bundle.of(make_graph(), tmp_path, name=name, preparation=Preparation(frame_size=64), input_size=64)


def told(graph: bytes) -> dict[str, str]:
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    return {each.key: each.value for each in model.metadata_props}


def test_a_graph_tells_its_preparation_and_that_the_gate_goes_first(tmp_path: Path) -> None:
    label = told(made(tmp_path, "né " * 60).graph)  # longer than one byte can count
    assert label["leukoscope.name"] == "né " * 60
    assert label[PREPARATION] == '{"frame_size":64,"clahe":null}'
    assert label["leukoscope.input_size"] == "64"
    assert "gate in bundle.json come first" in label["leukoscope.notice"]
    assert told(read_bundle(default_bundle()).graph).keys() == label.keys()


def test_a_graph_is_labelled_once(tmp_path: Path) -> None:
    own = made(tmp_path)
    assert own.with_facts(graph=own.graph, name="other").graph == own.graph
    assert PREPARATION in told(own.with_facts(graph=make_graph(bias=0.5)).graph)


def test_a_graph_of_another_preparation_is_not_run(tmp_path: Path) -> None:
    own = made(tmp_path)
    Classifier(own, threads=1)
    other = own.with_facts(preparation=Preparation(frame_size=64, clahe=Clahe()))
    with pytest.raises(BundleError, match="prepared in another way"):
        Classifier(other, threads=1)


def test_the_default_graph_refuses_a_frame_of_another_size() -> None:
    session = ort.InferenceSession(read_bundle(default_bundle()).graph, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Got: 300 Expected: 340"):
        session.run(["logit"], {"frames": np.zeros((1, 300, 300, 3), np.uint8)})
