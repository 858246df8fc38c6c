"""Sums of a graph in an order that every runtime keeps: along one axis after the other.

Over a whole plane, runtimes sum tens of thousands of numbers in blocks of their own, and WebAssembly's answer differed
from the native one in the third decimal of the logit. A row of some hundred numbers leaves them little freedom.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_REDUCTIONS: Final = frozenset({"ReduceSum", "ReduceMean"})
_PLANE: Final = 2  # axes of a picture, the last of a tensor


def in_one_order(proto: Any) -> None:
    """Take every sum and mean over several axes, and every pooling of a whole plane, one axis after the other.

    Args:
        proto: an `onnx.ModelProto`, whose graph is changed in place.
    """
    from onnx import helper, numpy_helper  # noqa: PLC0415

    graph = proto.graph
    known = {each.name: each for each in graph.initializer}
    shapes = {
        each.name: [side.dim_value for side in each.type.tensor_type.shape.dim]
        for each in (*graph.value_info, *graph.output)
    }
    nodes = []
    for node in graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type in _REDUCTIONS and len(node.input) > 1 and node.input[1] in known:
            axes = [int(axis) for axis in numpy_helper.to_array(known[node.input[1]])]
            steps = sorted(axes, reverse=True)  # the last first: those before it keep their places
            if len(axes) > 1 and min(axes) >= 0:
                for axis in steps:
                    if f"axis.{axis}" not in known:
                        known[f"axis.{axis}"] = numpy_helper.from_array(np.array([axis]), f"axis.{axis}")
                        graph.initializer.append(known[f"axis.{axis}"])
                nodes += _chain(node, [(f"axis.{axis}",) for axis in steps], [given] * len(steps))
                continue
        if node.op_type == "AveragePool" and shapes.get(node.output[0], [])[-_PLANE:] == [1, 1]:
            height, width = given["kernel_shape"]
            if height > 1 and width > 1 and not any(given.get("pads", ())):
                sides = [{"kernel_shape": side, "strides": side} for side in ([1, width], [height, 1])]
                nodes += _chain(node, [(), ()], sides)
                continue
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(tensor)


def _chain(node: Any, more: list[tuple[str, ...]], attributes: list[dict[str, Any]]) -> list[Any]:
    """Nodes like ``node``, each on the result of the one before, with further inputs and attributes of their own."""
    from onnx import helper  # noqa: PLC0415

    names = [node.input[0], *(f"{node.output[0]}.{step}" for step in range(1, len(more))), node.output[0]]
    return [
        helper.make_node(node.op_type, [source, *inputs], [result], **given)
        for source, result, inputs, given in zip(names[:-1], names[1:], more, attributes, strict=True)
    ]
