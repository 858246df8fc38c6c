"""The last linear unit of a bundle's graph: reading it, and putting another in its place with the heat map that fits.

The logit is ``w . embedding + b``. The heat map is ``sum_c v_c features_c`` over the positions, with ``v_c`` the gradient
of the logit summed over positions, which is ``w_c`` times a slope that only depends on what lies between features and
embedding (see `models.closed_form_cam`). A new ``w'`` therefore needs ``v'_c = v_c w'_c / w_c``. Needs the `onnx` package.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import GRAPH_FILE
from leukoscope.errors import BundleError, missing_extra

_RESHAPING = frozenset({"Gather", "Squeeze", "Reshape", "Flatten", "Identity"})
_SUMS = frozenset({"Conv", "Einsum"})  # of weighted features; the second in graphs of earlier versions


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Weights float64 [E] and bias of the last linear unit; ``slope`` [E]: of the heat map's weights to these."""

    weight: NDArray[np.float64]
    bias: float
    slope: NDArray[np.float64]


def read_head(bundle: Bundle) -> Head:
    """Read the head of a bundle's graph.

    Raises:
        MissingExtraError: the package onnx is not installed.
        BundleError: the logit is no linear unit on the embedding, or the heat map no sum of weighted features.
    """
    parts = _parts(bundle)
    return Head(parts.weight.reshape(-1), parts.bias, parts.slope)


def replace_head(bundle: Bundle, weight: NDArray[np.float64], bias: float) -> bytes:
    """The bundle's graph with another head; everything before the embedding stays as it is, bit by bit.

    Args:
        bundle: the bundle.
        weight: float [E].
        bias: added to the logit.

    Raises:
        MissingExtraError: the package onnx is not installed.
        BundleError: see ``read_head``; or ``weight`` has another length or is not finite.
    """
    from onnx import numpy_helper  # noqa: PLC0415

    parts = _parts(bundle)
    if weight.shape != parts.slope.shape or not (np.isfinite(weight).all() and np.isfinite(bias)):
        raise _foreign(bundle, f"takes a finite head of {len(parts.slope)} weights, not {list(weight.shape)}")
    # New tensors: the exporter lets nodes share numbers that happened to be equal, and leaves out a bias of zero.
    stored = parts.model.graph.initializer
    for node, place, name, values in (
        (parts.unit, 1, "head.weight", weight.reshape(parts.weight.shape)),
        (parts.unit, 2, "head.bias", np.array([bias])),
        (parts.total, 1, "head.map", (weight * parts.slope).reshape(parts.cam.shape)),
    ):
        for tensor in [each for each in stored if each.name == name]:  # of an earlier change
            stored.remove(tensor)
        stored.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        if place == len(node.input):
            node.input.append(name)
        else:
            node.input[place] = name
    used = {name for node in parts.model.graph.node for name in node.input}
    for tensor in [each for each in stored if each.name not in used]:
        stored.remove(tensor)
    return bytes(parts.model.SerializeToString())


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    model: Any
    unit: Any  # the node of the linear unit
    total: Any  # the node of the heat map's sum
    weight: NDArray[np.float64]
    bias: float
    cam: NDArray[np.float64]
    slope: NDArray[np.float64]


def _parts(bundle: Bundle) -> _Parts:
    try:
        import onnx  # noqa: PLC0415
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("changing the head of a bundle", "train") from error
    model = onnx.load_from_string(bundle.graph)
    named = {tensor.name: tensor for tensor in model.graph.initializer}
    maker = {name: node for node in model.graph.node for name in node.output}
    unit = maker.get("logit")
    while unit is not None and unit.op_type in _RESHAPING:
        unit = maker.get(unit.input[0])
    if unit is None or unit.op_type != "Gemm" or unit.input[0] != "embedding" or len(unit.input) not in {2, 3}:
        raise _foreign(bundle, "has no linear unit on the embedding as its last step")
    total = maker.get("heatmap")
    while total is not None and total.op_type in {"Div", "Mul", *_RESHAPING}:
        total = maker.get(total.input[0])
    if total is None or total.op_type not in _SUMS or len(total.input) != 2:
        raise _foreign(bundle, "has a heat map that is no sum of weighted features")
    names = [*unit.input[1:], total.input[1]]
    if not set(names) <= set(named):
        raise _foreign(bundle, "holds its head in another way than as stored numbers")
    weight, *biases, cam = (numpy_helper.to_array(named[name]).astype(np.float64) for name in names)
    bias = float(biases[0].reshape(-1)[0]) if biases else 0.0
    if weight.size != cam.size:
        raise _foreign(bundle, "has a head and a heat map that do not belong together")
    flat = weight.reshape(-1)
    if np.allclose(cam.reshape(-1), flat, rtol=1e-6, atol=0):
        slope = np.ones_like(flat)
    elif np.all(flat != 0):
        slope = cam.reshape(-1) / flat
    else:
        raise _foreign(bundle, "has a weight of 0 in its head, from which the heat map's slope cannot be told")
    return _Parts(model, unit, total, weight, bias, cam, slope)


def _foreign(bundle: Bundle, what: str) -> BundleError:
    return BundleError(what, path=bundle.folder / GRAPH_FILE, remedy="adapt a bundle that `leukoscope train` made")
