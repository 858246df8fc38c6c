"""From a trained network to the one graph that runs everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leukoscope import _version
from leukoscope.bundle.sums import in_one_order
from leukoscope.errors import BundleError, missing_extra
from leukoscope.models import CellClassifier
from leukoscope.models.deployed import deployed, quiet_export

_WORTH_HALVING = 1 << 14  # bytes of a table
OPSET = 18  # the first with antialiased resizing


class ExplainedGraph(nn.Module):
    """Raw frames in; logit, signed Grad-CAM and embedding out, in one forward pass.

    Args:
        model: the trained network.
        input_size: pixels to which frames are resized; see `CellClassifier.explained`.
    """

    def __init__(self, model: CellClassifier, input_size: int) -> None:
        super().__init__()
        self.model = model
        self.input_size = input_size

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 RGB [N, F, F, 3] to logit [N], heat map [N, h, w] and embedding [N, E], all float32."""
        return self.model.explained(frames, self.input_size)


def graph_bytes(model: CellClassifier, input_size: int, frame_size: int) -> bytes:
    """Serialise a network as ONNX.

    Args:
        model: the trained network; put into evaluation mode, moved to the CPU.
        input_size: pixels of the network's input.
        frame_size: pixels of the standard frame.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        BundleError: the network uses an operation that ONNX lacks.
    """
    try:
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise missing_extra("exporting a bundle", "train") from error
    graph = ExplainedGraph(deployed(model.cpu().eval()), input_size).eval()
    example = torch.zeros(2, frame_size, frame_size, 3, dtype=torch.uint8)
    try:
        with quiet_export():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["frames"],
                output_names=["logit", "heatmap", "embedding"],
                dynamic_shapes={"frames": {0: torch.export.Dim("cells", min=1)}},
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise BundleError(f"the network cannot be written as ONNX ({error})", remedy="report this network") from error
    assert program is not None
    proto = program.model_proto
    proto.producer_name, proto.producer_version = "leukoscope", _version.__version__
    proto.graph.name = "leukoscope"
    # The exporter stores the source lines of this machine with every node; they do not belong into an artefact.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    in_one_order(proto)
    _store_halved(proto, tuple(f"model.{part}." for part in model.halved))
    return bytes(proto.SerializeToString())


def _store_halved(proto: Any, rounded: tuple[str, ...]) -> None:
    """Store large tables in half precision whose numbers are exact so, or whose names begin with one of ``rounded``.

    Loading a graph widens them once.
    """
    from onnx import helper, numpy_helper  # noqa: PLC0415

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != tensor.FLOAT or len(tensor.raw_data) < _WORTH_HALVING:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not tensor.name.startswith(rounded) and not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=1))  # to float32
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
