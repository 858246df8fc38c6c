"""From a trained network to the one graph that runs everywhere.

The resize at the head of a graph, as two products with bands of the filter: the same numbers, in half the time.

ONNX Runtime's antialiased ``Resize`` runs one number at a time on a CPU. A separable filter is a product of the frame's
rows, and then of its columns, with a matrix that is zero but for a band along its diagonal. Both matrices are cut into
blocks of a few output lines, each with the input lines that it needs, so that most of the zeros are left out.

A runtime is free in the order of its sums, and a level that lies at the half would be rounded up by one and down by
another, so the sums are exact. The weights of such a filter are whole numbers, divided by their sum at the very end;
sums of the first product fit the 24 bits of float32, and for the second one they are cut in two.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope import _version
from leukoscope.bundle.sums import in_one_order
from leukoscope.errors import BundleError, missing_extra
from leukoscope.models import CellClassifier, closed_form_cam
from leukoscope.models.deployed import deployed, quiet_export

_BLOCK = 16  # output lines of a block, if the size can be divided so: fewer zeros below, fewer calls above


def triangle_filter(frame: int, size: int) -> NDArray[np.int64]:
    """Weights of antialiased bilinear interpolation along one axis, int64 [size, frame], each row up to its sum.

    A triangle as wide as the reduction, cut at the borders, as Pillow and PyTorch have it.

    >>> triangle_filter(4, 2).tolist()
    [[3, 3, 1, 0], [0, 1, 3, 3]]
    """
    common = math.gcd(frame, size)
    frame_, size_ = frame // common, size // common
    away = size_ * (2 * np.arange(frame) + 1) - frame_ * (2 * np.arange(size)[:, None] + 1)
    return np.asarray(np.maximum(2 * max(frame_, size_) - np.abs(away), 0))


def resize(frames: Tensor, size: int) -> Tensor:
    """Resize by antialiased bilinear interpolation, as ``cells.resize_frame`` does but for rounding.

    Args:
        frames: uint8 RGB [N, F, F, 3].
        size: side of the result in pixels.

    Returns:
        float32 [N, 3, S, S], 0..255, not rounded to levels; the same numbers in every runtime.
    """
    side = frames.shape[1]
    *tables, part = _bands(side, size)
    lines, bands, sums = (torch.from_numpy(each).to(frames.device) for each in tables)
    blocks, _, span = bands.shape
    rows = frames.reshape(-1, side, 3 * side).index_select(1, lines).reshape(-1, blocks, span, 3 * side)
    low = torch.matmul(bands, rows.float()).reshape(-1, size, side, 3)
    turned = low.permute(0, 2, 3, 1).reshape(-1, side, 3 * size)
    high = (turned / part).floor()
    columns = torch.cat([high, turned - high * part], 2).index_select(1, lines)
    both = torch.matmul(bands, columns.reshape(-1, blocks, span, 6 * size)).reshape(-1, size, 6, size)
    total = both[:, :, :3] * part + both[:, :, 3:]  # rounded here for the first time, by itself
    return (total / sums / sums[:, None, None]).permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def _bands(frame: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], float]:
    """Input lines of all blocks, int64 [B * K]; weights of each block, [B, size / B, K]; their sums, [size]; a cut.

    The cut divides sums of the first product in two of about as many bits.
    """
    weights = triangle_filter(frame, size)
    lines = min((n for n in range(4, 65) if size % n == 0), key=lambda n: abs(n - _BLOCK), default=size)
    parts = weights.reshape(-1, lines, frame)
    used = [np.flatnonzero(part.any(axis=0)) for part in parts]
    span = max(int(each[-1] - each[0]) + 1 for each in used)
    starts = [min(int(each[0]), frame - span) for each in used]
    cut = np.stack([part[:, start : start + span] for part, start in zip(parts, starts, strict=True)])
    chosen = np.concatenate([np.arange(start, start + span) for start in starts])
    sums = weights.sum(axis=1)
    part = 2.0 ** math.ceil(math.log2(255 * int(sums.max())) / 2)
    return chosen, cut.astype(np.float32), sums.astype(np.float32), part


_WORTH_HALVING = 1 << 14  # bytes of a table
OPSET = 18  # the first with antialiased resizing


class ExplainedGraph(nn.Module):
    """Raw frames in; logit, signed Grad-CAM and embedding out, in one forward pass.

    Args:
        model: the trained network.
        input_size: pixels to which frames are resized, antialiased, as ``cells.resize_frame`` does in training.
    """

    def __init__(self, model: CellClassifier, input_size: int) -> None:
        super().__init__()
        self.model = model
        self.input_size = input_size

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 RGB [N, F, F, 3] to logit [N], heat map [N, h, w] and embedding [N, E], all float32."""
        if frames.shape[1] == self.input_size:
            x = frames.permute(0, 3, 1, 2).float()
        else:  # rounded, because the network was trained on frames stored as 8-bit numbers
            x = resize(frames, self.input_size).round()
        seen = x / 255
        features = self.model.forward_features(seen)
        return (
            self.model.forward_head(features)[:, 0],
            self.model.shown_map(closed_form_cam(self.model, features), seen),
            self.model.embed(features),
        )


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
    _store_halved(proto)
    return bytes(proto.SerializeToString())


def _store_halved(proto: Any) -> None:
    """Store large tables whose numbers are exact in half precision as such; loading a graph widens them once."""
    from onnx import helper, numpy_helper  # noqa: PLC0415

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != tensor.FLOAT or len(tensor.raw_data) < _WORTH_HALVING:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=1))  # to float32
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
