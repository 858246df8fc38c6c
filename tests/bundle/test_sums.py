"""Sums over several axes and pooling of whole planes, one axis after the other."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from leukoscope.bundle.sums import in_one_order

PLANES = np.random.default_rng(3).normal(size=(2, 5, 6, 7)).astype(np.float32)


def graph_of(operator: str, inputs: list[str], axes: list[int], **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x", *inputs], ["y"], **attributes)
    rank = 4 if attributes.get("keepdims", 1) else 4 - len(axes)
    shape = [None, 5, 1, 1] if operator == "AveragePool" else [None] * rank
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 5, 6, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(axes), "axes")] if inputs else [],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": PLANES})[0])


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [1, 2, 3], [1, 3]])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean"])
def test_reductions_are_taken_axis_by_axis(operator: str, axes: list[int], keepdims: int) -> None:
    model = graph_of(operator, ["axes"], axes, keepdims=keepdims)
    in_one_order(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == [operator] * len(axes)
    assert "axes" not in {each.name for each in model.graph.initializer}
    wanted = PLANES.astype(np.float64)
    wanted = (wanted.sum if operator == "ReduceSum" else wanted.mean)(tuple(axes), keepdims=bool(keepdims))
    np.testing.assert_allclose(answer(model), wanted, atol=1e-5)


def test_pooling_of_a_whole_plane_is_taken_axis_by_axis() -> None:
    model = graph_of("AveragePool", [], [], kernel_shape=[6, 7], strides=[6, 7])
    in_one_order(model)
    assert len(model.graph.node) == 2
    np.testing.assert_allclose(answer(model)[..., 0, 0], PLANES.mean((2, 3)), atol=1e-6)


def test_what_has_one_order_already_stays() -> None:
    single = graph_of("ReduceSum", ["axes"], [3], keepdims=1)
    before = single.SerializeToString()
    in_one_order(single)
    assert single.SerializeToString() == before
