"""A bundle whose convolutions count in 8-bit integers: smaller, and faster on a processor that multiplies bytes.

Static quantisation (Jacob et al., CVPR 2018) as ONNX Runtime does it: weights are int8, one scale per filter;
activations are uint8, one scale and zero point per tensor, from the smallest and largest value over calibration frames.
Needs `onnx`; running the result needs ONNX Runtime alone.

Four things stay float. What comes before the first convolution: resizing and standardising the cell. The first
convolution: it sees the picture, is cheap, and holds off ONNX Runtime's optimiser, which would otherwise push the
channels-last layout of 8-bit convolutions up through the standardisation and lose there what they gain. What comes
after the last convolutions: heat map, embedding and head. Squeeze-and-excitation, a few hundred multiplications.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import Bundle
from leukoscope.bundle.revise import revise_bundle
from leukoscope.bundle.schema import GRAPH_FILE, BundleFacts, QuantisedFacts
from leukoscope.errors import BundleError, DataError, missing_extra

if TYPE_CHECKING:
    import onnx

_QUANTISED = ("Conv", "Relu", "Add", "MaxPool")
_ALREADY = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})


def quantize_bundle(
    bundle: Bundle,
    folder: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    data: str,
    fingerprint: str,
    groups: list[str],
    seed: int,
) -> BundleFacts:
    """Write the 8-bit form of a bundle, whole or not at all.

    Preparation, decision, gate and subject rule are those of ``bundle``; its figures are not taken along, because they
    were measured with another graph.

    Args:
        bundle: with a float graph.
        folder: is replaced if it exists.
        frames: for calibration, uint8 [F, F, 3] each, of cells that the network was trained on; read one at a time.
        data: name of the data set that they are of.
        fingerprint: of its manifest.
        groups: their patient groups.
        seed: of their choice.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph is 8-bit already, has no second convolution, or cannot be run on the frames.
        DataError: there are no frames.
        LeukoscopeError: the folder cannot be written.
    """
    if bundle.facts.precision != "fp32":
        raise _unfit(bundle, f"is {bundle.facts.precision} already", "give the bundle that it was made of")
    source = _Frames(frames)
    try:
        graph, convolutions = quantized_graph(bundle.graph, source)
    except BundleError as error:
        raise _unfit(bundle, error.what, error.remedy) from error
    facts = QuantisedFacts(
        parent=bundle.facts.name,
        files=bundle.facts.files,
        data=data,
        data_fingerprint=fingerprint,
        groups=sorted(set(groups)),
        pictures=source.count,
        seed=seed,
        convolutions=convolutions,
    )
    update = {"name": f"{bundle.facts.name}-int8", "precision": "int8", "quantised": facts}
    changed = replace(bundle, graph=graph, facts=bundle.facts.model_copy(update=update))
    return revise_bundle(changed, folder, decision=bundle.facts.decision, measured=())


def quantized_graph(graph: bytes, frames: Iterable[NDArray[np.uint8]]) -> tuple[bytes, int]:
    """Quantise a float graph; inputs and outputs keep their names, types and shapes.

    Weights use 7 of the 8 bits: processors with AVX2 but without VNNI add two products of bytes in 16 bits, which
    larger weights overflow, so that the same bundle would answer differently there.

    Args:
        graph: from ``leukoscope.bundle.export.graph_bytes``.
        frames: uint8 [F, F, 3] each.

    Returns:
        The graph, and how many of its convolutions are 8-bit.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph is 8-bit already, has no second convolution, or cannot be run on the frames.
        DataError: there are no frames.
    """
    try:
        import onnx  # noqa: PLC0415
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415
        from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("quantising a bundle", "train") from error
    model = onnx.load_from_string(graph)
    name = model.graph.input[0].name
    _check(model)
    source = frames if isinstance(frames, _Frames) else _Frames(frames)
    with tempfile.TemporaryDirectory(prefix="leukoscope-int8-") as temporary:
        given, plain, result = (Path(temporary) / f"{step}.onnx" for step in ("given", "plain", "int8"))
        given.write_bytes(graph)
        quant_pre_process(str(given), str(plain), skip_symbolic_shape=True)
        prepared = onnx.load(plain)
        kept = _kept_float(prepared)
        try:
            quantize_static(
                plain,
                result,
                _Reader(name, source),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=kept,
                per_channel=True,
                reduce_range=True,  # of the weights only
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except DataError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            if not source.count:
                raise DataError(
                    "there are no cells to calibrate on", remedy="give cells of the training part"
                ) from error
            raise BundleError(f"cannot be quantised ({str(error)[:300]})", remedy="report this network") from error
        made = onnx.load(result)
    _tidy(made, model)
    return bytes(made.SerializeToString()), sum(n.op_type == "Conv" and n.name not in kept for n in prepared.graph.node)


class _Frames(Iterator[NDArray[np.uint8]]):
    """Frames, counted as they are read."""

    def __init__(self, frames: Iterable[NDArray[np.uint8]]) -> None:
        self._rest = iter(frames)
        self.count = 0

    def __next__(self) -> NDArray[np.uint8]:
        frame = next(self._rest)
        self.count += 1
        return frame


class _Reader:
    """What ONNX Runtime asks for the next input while it calibrates."""

    def __init__(self, name: str, frames: _Frames) -> None:
        self._name, self._frames = name, frames

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {self._name: frame[None]}


def _check(model: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in model.graph.node]
    if _ALREADY & set(kinds):
        raise BundleError("holds 8-bit nodes already", remedy="give the float graph")
    if kinds.count("Conv") < 2:
        raise BundleError("has no second convolution to quantise", remedy="keep the float bundle: it is as fast")


def _kept_float(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay float: see the module."""
    nodes = list(model.graph.node)
    first = next(index for index, node in enumerate(nodes) if node.op_type == "Conv")
    kept = {node.name for node in nodes[: first + 1]}
    maker = {output: node for node in nodes for output in node.output}
    # Back from the outputs, up to the last convolutions.
    todo = [output.name for output in model.graph.output]
    while todo:
        node = maker.get(todo.pop())
        if node is not None and node.op_type != "Conv" and node.name not in kept:
            kept.add(node.name)
            todo += node.input
    # Activations of parts that are float anyway, as squeeze-and-excitation.
    for node in nodes:
        if node.op_type in {"Relu", "MaxPool"} and node.name not in kept:
            source = maker.get(node.input[0])
            if source is None or source.op_type not in _QUANTISED or source.name in kept:
                kept.add(node.name)
    return sorted(kept)


def _tidy(made: onnx.ModelProto, origin: onnx.ModelProto) -> None:
    """Names and versions as in the float graph; of the operator sets only those that are used."""
    made.producer_name, made.producer_version = origin.producer_name, origin.producer_version
    made.graph.name = origin.graph.name
    del made.metadata_props[:]
    del made.graph.value_info[:]
    used = {node.domain for node in made.graph.node}
    for index in reversed(range(len(made.opset_import))):
        if made.opset_import[index].domain not in used:
            del made.opset_import[index]


def _unfit(bundle: Bundle, what: str, remedy: str | None) -> BundleError:
    return BundleError(what, path=bundle.folder / GRAPH_FILE, remedy=remedy)
