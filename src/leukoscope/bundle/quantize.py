"""A bundle whose convolutions keep their weights in 8 bits: a third of the bytes, nearly the float bundle's answers.

Each filter's weights are rounded to multiples of a scale of its own (Jacob et al., CVPR 2018), stored as int8, and
turned back into floats when ONNX Runtime loads the graph, which then counts as before and as fast. Activations stay
float: in 8 bits they moved the logit ten times as far and saved no time (docs/speed.md). Rounding moves all logits a
little in one direction, so slope and offset of the last unit are fitted again, to the float graph's logits on
calibration cells; the heat map follows them.

Needs `onnx`; running the result needs ONNX Runtime alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from leukoscope.bundle.head import GraphHead, HeadChange
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import GRAPH_FILE, QuantisedFacts
from leukoscope.errors import BundleError, DataError, LeukoscopeError, missing_extra

if TYPE_CHECKING:
    import onnx

LEAST_NUMBERS = 1024  # of a weight: below, rounding saves too little
_TOP = 127  # the largest magnitude in 8 bits


def quantized(
    bundle: Bundle,
    frames: Iterable[NDArray[np.uint8]],
    *,
    data: str,
    fingerprint: str,
    groups: list[str],
    seed: int,
) -> Bundle:
    """The 8-bit form of a bundle, in memory.

    Preparation, decision, gate and subject rule are those of ``bundle``; its figures are not taken along, because they
    were measured with another graph.

    Args:
        bundle: with a float graph.
        frames: for calibration, uint8 [F, F, 3] each, of cells that the network was trained on; read one at a time.
        data: name of the data set that they are of.
        fingerprint: of its manifest.
        groups: their patient groups.
        seed: of their choice.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph is 8-bit already, has no large convolution or no linear unit at its end, or cannot be run
            on the frames.
        DataError: there are no frames.
    """
    if bundle.facts.precision != "fp32":
        raise _unfit(bundle, f"is {bundle.facts.precision} already", "give the bundle that it was made of")
    try:
        graph, convolutions = rounded_graph(bundle.graph)
    except BundleError as error:
        raise _unfit(bundle, error.what, error.remedy) from error
    rounded = replace(bundle, graph=graph)
    logits = _logits(bundle, graph, frames)
    slope, offset = logit_correction(logits[:, 0], logits[:, 1])
    head = GraphHead(rounded)
    graph = head.changed(replace(HeadChange.none(head.size), trust=slope, bias=offset))
    made = QuantisedFacts(
        parent=bundle.facts.name,
        files=bundle.facts.files,
        data=data,
        data_fingerprint=fingerprint,
        groups=sorted(set(groups)),
        pictures=len(logits),
        seed=seed,
        convolutions=convolutions,
    )
    name = f"{bundle.facts.name}-int8"
    return bundle.with_facts(graph=graph, name=name, precision="int8", quantised=made, subjects=bundle.facts.subjects)


def rounded_graph(graph: bytes) -> tuple[bytes, int]:
    """Keep the weights of a float graph's larger convolutions in 8 bits.

    Args:
        graph: from ``leukoscope.bundle.export.graph_bytes``.

    Returns:
        The graph, and how many of its weights are 8-bit. Inputs and outputs keep their names, types and shapes.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph holds 8-bit numbers already, or no convolution of `LEAST_NUMBERS` weights.
    """
    try:
        import onnx  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("quantising a bundle", "train") from error
    model = onnx.load_from_string(graph)
    stored = {each.name: each for each in model.graph.initializer}
    if any(each.data_type in {onnx.TensorProto.INT8, onnx.TensorProto.UINT8} for each in stored.values()):
        raise BundleError("holds 8-bit numbers already", remedy="give the float graph")
    weights = dict.fromkeys(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    nodes: list[onnx.NodeProto] = []
    for name in weights:
        values = None if name not in stored else onnx.numpy_helper.to_array(stored[name])
        if values is None or values.dtype != np.float32 or values.size < LEAST_NUMBERS:
            continue
        whole, scale = round_filters(values)
        model.graph.initializer.remove(stored[name])
        model.graph.initializer.extend(
            [onnx.numpy_helper.from_array(whole, f"{name}.int8"), onnx.numpy_helper.from_array(scale, f"{name}.scale")]
        )
        # ONNX Runtime does both once, when it loads the graph; the convolution then finds the weights under their name.
        cast = onnx.helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=onnx.TensorProto.FLOAT)
        nodes += [cast, onnx.helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name])]
    if not nodes:
        raise BundleError(
            f"has no convolution of {LEAST_NUMBERS:,} weights", remedy="keep the float bundle: it is small enough"
        )
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return bytes(model.SerializeToString()), len(nodes) // 2


def round_filters(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each filter to whole multiples of its own scale, the largest magnitude to 127.

    Args:
        weights: float32 [O, I, h, w].

    Returns:
        int8 [O, I, h, w] and scales float32 [O, 1, 1, 1]; a filter of zeros has scale 1.
    """
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scale = np.where(largest > 0, largest / _TOP, 1).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale


def logit_correction(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the line that takes logits nearest to others, by least squares; slope 1 where none varies.

    Args:
        wanted: float64 [N], N at least 1.
        found: float64 [N].
    """
    away = found - found.mean()
    spread = float(away @ away)
    slope = float(away @ wanted) / spread if len(found) > 2 and spread > 0 else 1.0
    return slope, float(wanted.mean() - slope * found.mean())


def _logits(bundle: Bundle, rounded: bytes, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Logits of the float and of the rounded graph on each frame, float64 [N, 2]."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    found: list[list[float]] = []
    try:
        sessions = [
            ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            for graph in (bundle.graph, rounded)
        ]
        for frame in frames:
            asked = {sessions[0].get_inputs()[0].name: frame[None]}
            found.append([float(session.run(["logit"], asked)[0][0]) for session in sessions])
    except (LeukoscopeError, OSError):
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise _unfit(bundle, f"cannot be run on the cells ({str(error)[:300]})", "export it again") from error
    if not found:
        raise DataError("there are no cells to calibrate on", remedy="give cells of the training part")
    return np.array(found)


def _unfit(bundle: Bundle, what: str, remedy: str | None) -> BundleError:
    return BundleError(what, path=bundle.folder / GRAPH_FILE, remedy=remedy)
