"""The end of a bundle's graph, from the embedding to the logit: asking it alone, and changing it with its heat map.

Two forms are known. Of the networks trained whole, the last step is one linear unit, ``w . embedding + b``; the heat
map is made of ``sum_c v_c features_c`` over the positions. ``v_c`` is the gradient of the logit summed over positions:
``w_c`` times a slope that only depends on what lies between features and embedding (see `models.closed_form_cam`), so
that a new ``w'`` needs ``v'_c = v_c w'_c / w_c``. Of an `eye`, a head of any kind follows, and the heat map begins with
the gradient of the logit by the embedding, times the matrix that made the embedding: a change adds to that gradient.
What completes a map to the logit follows the new logit by itself.

Everything before the embedding, and the embedding itself, stay as they are, bit by bit. Needs the `onnx` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import GRAPH_FILE
from leukoscope.errors import BundleError, missing_extra

Array = NDArray[np.float64]
_RESHAPING = frozenset({"Gather", "Squeeze", "Reshape", "Flatten", "Identity"})
_SUMS = frozenset({"Conv", "Einsum"})  # of weighted features; the second in graphs of earlier versions
_SCALE, _SHIFT, _WEIGHT, _BIAS = "change.scale", "change.shift", "change.weight", "change.bias"


@dataclass(frozen=True, slots=True, eq=False)
class HeadChange:
    """What becomes of a head: the new logit of an embedding x is ``trust * old(a) + weight . a + bias``.

    ``a = scale * x + shift``, number by number, is the aligned embedding.

    Attributes:
        scale: float64 [E].
        shift: float64 [E].
        trust: how much of the old head is kept.
        weight: float64 [E].
        bias: added to the logit.
    """

    scale: Array
    shift: Array
    trust: float
    weight: Array
    bias: float

    @classmethod
    def none(cls, size: int) -> HeadChange:
        """Nothing changes, for embeddings of so many numbers."""
        return cls(np.ones(size), np.zeros(size), 1.0, np.zeros(size), 0.0)

    def aligned(self, embedding: Array) -> Array:
        """Embeddings [N, E] as the head sees them."""
        return np.asarray(embedding * self.scale + self.shift)


class GraphHead:
    """The end of a bundle's graph.

    Args:
        bundle: whose graph it is.

    Raises:
        MissingExtraError: the package onnx is not installed.
        BundleError: the end is of neither form.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        try:
            import onnx  # noqa: F401, PLC0415
        except ImportError as error:
            raise missing_extra("changing the head of a bundle", "train") from error
        self._form = _parse(bundle)
        self._session: ort.InferenceSession | None = None

    @property
    def size(self) -> int:
        """Numbers of the embedding."""
        return self._form.size

    def logits(self, embedding: Array) -> Array:
        """What the head says of embeddings [N, E], which need be of no picture: float64 [N]."""
        if self._session is None:
            self._session = _end_alone(self._bundle)
        given = np.ascontiguousarray(embedding, dtype=np.float32)
        return np.asarray(self._session.run(["logit"], {"embedding": given})[0], dtype=np.float64)

    def changed(self, change: HeadChange) -> bytes:
        """The bundle's graph with another head.

        Raises:
            BundleError: the change is of embeddings of another size, or not finite.
        """
        numbers = np.concatenate([change.scale, change.shift, change.weight, [change.trust, change.bias]])
        shapes = {each.shape for each in (change.scale, change.shift, change.weight)}
        if shapes != {(self.size,)} or not np.isfinite(numbers).all():
            raise _foreign(self._bundle, f"takes a finite change of {self.size} numbers, not {sorted(shapes)}")
        form = _parse(self._bundle)  # anew: it is changed in place
        form.change(change)
        stored = form.model.graph.initializer
        used = {name for node in form.model.graph.node for name in node.input}
        for tensor in [each for each in stored if each.name not in used]:
            stored.remove(tensor)
        return bytes(form.model.SerializeToString())

    def with_linear(self, weight: Array, bias: float) -> bytes:
        """The bundle's graph with one linear unit on the embedding, of weights [E], as its whole head.

        Raises:
            BundleError: see `changed`.
        """
        none = HeadChange.none(len(weight))
        return self.changed(HeadChange(none.scale, none.shift, 0.0, weight, bias))


@dataclass(slots=True, eq=False)
class _Unit:
    """One linear unit."""

    model: Any
    unit: Any  # its node
    total: Any  # the node of the heat map's sum
    weight: Array  # as stored, [1, E] or [E, 1]
    bias: float
    cam: Array
    slope: Array  # [E], of the heat map's weights to the unit's

    @property
    def size(self) -> int:
        return len(self.slope)

    def change(self, change: HeadChange) -> None:
        old = self.weight.reshape(-1)
        along = change.trust * old + change.weight  # by the aligned embedding
        weight = along * change.scale
        bias = change.trust * self.bias + change.bias + float(along @ change.shift)
        # New tensors: the exporter lets nodes share numbers that happened to be equal, and leaves out a bias of zero.
        for node, place, name, values in (
            (self.unit, 1, "head.weight", weight.reshape(self.weight.shape)),
            (self.unit, 2, "head.bias", np.array([bias])),
            (self.total, 1, "head.map", (weight * self.slope).reshape(self.cam.shape)),
        ):
            _store(self.model, name, values)
            if place == len(node.input):
                node.input.append(name)
            else:
                node.input[place] = name


@dataclass(slots=True, eq=False)
class _Any:
    """A head of any kind, and the gradient of the logit by the embedding, which begins the heat map."""

    model: Any
    size: int
    slopes: Any  # the node that multiplies the gradient with the matrix of the embedding

    def change(self, change: HeadChange) -> None:
        from onnx import helper  # noqa: PLC0415

        graph = self.model.graph
        mark = sum(node.name.startswith("change.") for node in graph.node)  # a bundle may be changed again
        scale, shift, weight, bias, trust, aligned, within, told, kept, lean, once, held, by, seen = (
            f"{name}.{mark}"
            for name in (
                _SCALE, _SHIFT, _WEIGHT, _BIAS, "change.trust", "change.aligned", "change.within", "change.told",
                "change.kept", "change.lean", "change.once", "change.held", "change.by", "change.seen",
            )
        )  # fmt: skip
        for name, values in (
            (scale, change.scale), (shift, change.shift), (weight, change.weight[:, None]),
            (bias, np.array([change.bias])), (trust, np.array(change.trust)), (once, change.weight),
        ):  # fmt: skip
            _store(self.model, name, values)
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == "embedding":
                    node.input[place] = aligned
            for place, name in enumerate(node.output):
                if name == "logit":
                    node.output[place] = told

        def made(kind: str, inputs: list[str], output: str) -> Any:
            return helper.make_node(kind, inputs, [output], name=f"change.{output}.{mark}")

        axis = f"change.axis.{mark}"
        _store(self.model, axis, np.array([1], dtype=np.int64))
        first = [made("Mul", ["embedding", scale], within), made("Add", [within, shift], aligned)]
        # By the aligned embedding: trust times the old gradient, and the weights; then by the embedding itself.
        gradient = self.slopes.input[0]
        bent = [
            made("Mul", [gradient, trust], held), made("Add", [held, once], by), made("Mul", [by, scale], seen),
        ]  # fmt: skip
        self.slopes.input[0] = seen
        last = [
            made("Mul", [told, trust], kept), made("MatMul", [aligned, weight], f"{lean}.column"),
            made("Squeeze", [f"{lean}.column", axis], f"{lean}.row"), made("Add", [f"{lean}.row", bias], lean),
            made("Add", [kept, lean], "logit"),
        ]  # fmt: skip
        nodes: list[Any] = []
        for node in graph.node:  # each as soon as what it needs is there
            if node is self.slopes:
                nodes += bent
            nodes.append(node)
            if "embedding" in node.output:
                nodes += first
            if told in node.output:
                nodes += last
        del graph.node[:]
        graph.node.extend(nodes)


def sources(graph: Any, output: str) -> set[str]:
    """Names of all values of a graph that an output is computed from otherwise than by the logit, itself among them.

    A heat map is completed to the logit, and does not hang on all that makes the logit for that.

    Args:
        graph: an `onnx.GraphProto`, its nodes in order.
        output: name.
    """
    needed = {output}
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input) - {"logit"}
    return needed


def _store(model: Any, name: str, values: NDArray[Any]) -> None:
    from onnx import numpy_helper  # noqa: PLC0415

    stored = model.graph.initializer
    for tensor in [each for each in stored if each.name == name]:  # of an earlier change
        stored.remove(tensor)
    kind = values.dtype if values.dtype == np.int64 else np.float32
    stored.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=kind), name))


def _end_alone(bundle: Bundle) -> ort.InferenceSession:
    """The part of the graph from the embedding to the logit."""
    import onnx  # noqa: PLC0415
    from onnx.utils import Extractor  # noqa: PLC0415

    end = Extractor(onnx.load_from_string(bundle.graph)).extract_model(["embedding"], ["logit"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(end.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _parse(bundle: Bundle) -> _Unit | _Any:
    import onnx  # noqa: PLC0415

    model = onnx.load_from_string(bundle.graph)
    maker = {name: node for node in model.graph.node for name in node.output}
    before = maker.get("embedding")
    if before is not None and before.op_type == "Gemm":
        slopes = [
            node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] == before.input[1]
        ]  # fmt: skip
        if len(slopes) == 1:
            rows = next(t.dims[0] for t in model.graph.initializer if t.name == before.input[1])
            return _Any(model, int(rows), slopes[0])
    return _unit(bundle, model, maker)


def _unit(bundle: Bundle, model: Any, maker: dict[str, Any]) -> _Unit:
    from onnx import numpy_helper  # noqa: PLC0415

    named = {tensor.name: tensor for tensor in model.graph.initializer}
    unit = maker.get("logit")
    while unit is not None and unit.op_type in _RESHAPING:
        unit = maker.get(unit.input[0])
    if unit is None or unit.op_type != "Gemm" or unit.input[0] != "embedding" or len(unit.input) not in {2, 3}:
        raise _foreign(bundle, "has no linear unit on the embedding as its last step")
    answering = sources(model.graph, "logit")
    totals = [node for node in model.graph.node if node.op_type in _SUMS and not answering & set(node.output)]
    if len(totals) != 1 or len(totals[0].input) != 2:
        raise _foreign(bundle, "has a heat map that is no sum of weighted features")
    (total,) = totals
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
    return _Unit(model, unit, total, weight, bias, cam, slope)


def _foreign(bundle: Bundle, what: str) -> BundleError:
    return BundleError(what, path=bundle.folder / GRAPH_FILE, remedy="adapt a bundle that `leukoscope train` made")
