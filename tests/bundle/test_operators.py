"""A graph that could do more than compute is refused before it runs, by what stands in its file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle_factory import make_bundle, make_graph
from leukoscope.bundle.operators import ALLOWED, check_operators
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.errors import BundleError
from leukoscope.inference.classifier import load


def changed(**node: object) -> onnx.ModelProto:
    """The graph made by hand, with one node more."""
    model = onnx.load_from_string(make_graph())
    if node:
        model.graph.node.append(helper.make_node(**{"inputs": ["frames"], "outputs": ["more"], **node}))
    return model


def loop() -> onnx.ModelProto:
    """A graph that runs for ever."""
    info = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "on")]
    step = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    body = helper.make_graph([helper.make_node("Identity", ["going"], ["on"])], "body", [step, info[0]], [info[1]])
    model = changed(op_type="Loop", inputs=["", "true"], outputs=[], body=body)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    return model


def elsewhere(name: str = "weights") -> onnx.ModelProto:
    """A graph whose weights are those of another file."""
    model = changed()
    (tensor,) = (each for each in model.graph.initializer if each.name == name)
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.data_location = TensorProto.EXTERNAL
    return model


def constant_elsewhere() -> onnx.ModelProto:
    return changed(op_type="Constant", inputs=[], value=elsewhere().graph.initializer[1])


def with_function() -> onnx.ModelProto:
    model = changed()
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("ours", "f", ["a"], ["b"], [node], model.opset_import))
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (loop(), r"has an operator with a graph of its own .a loop or a branch.; such a graph is not run"),
        (elsewhere(), "keeps weights in another file"),
        (constant_elsewhere(), "keeps weights in another file"),
        (with_function(), "brings functions of its own"),
        (changed(op_type="Frobnicate"), "uses the operator Frobnicate, which is not known here"),
        (changed(op_type="Relu", domain="com.evil"), r"uses the operator com\.evil\.Relu"),
        (changed(op_type="RandomNormalLike"), "RandomNormalLike"),
        (changed(op_type="X" * 5000), "uses the operator XXX"),
    ],
)  # fmt: skip
def test_what_is_no_plain_computation_is_refused(model: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        load(make_bundle(tmp_path / "b", graph=model.SerializeToString()))
    assert "model.onnx" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_our_own_graphs_pass() -> None:
    check_operators(make_graph(), "x")
    graph = read_bundle(default_bundle()).graph
    check_operators(graph, "x")
    assert {node.op_type for node in onnx.load_from_string(graph).graph.node} <= ALLOWED


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x3a\xff", b"no protocol buffer", make_graph()[:-300]])
def test_what_is_no_graph_is_told(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"x: is no ONNX graph|x: uses"):
        check_operators(content, "x")


def test_altered_files_end_in_our_error_or_none() -> None:
    sound = make_graph()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        data = bytearray(sound)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        with suppress(BundleError):
            check_operators(bytes(data), "x")
