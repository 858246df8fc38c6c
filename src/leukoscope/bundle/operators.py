"""What a graph is made of, looked through before it runs: plain operators on tensors, and all weights in the file.

A graph of someone else could loop for ever, read other files or call what this runtime does not have. The file is a
protocol buffer (onnx.proto of ONNX 1.x), of which a few fields are read here, so that no other package is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from leukoscope.errors import BundleError

#: Of the domain of ONNX itself: those without graphs of their own, random numbers, sequences and texts.
ALLOWED: Final = frozenset(
    """
    Abs Add And ArgMax ArgMin Atan Attention AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
    HardSwish Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LRN MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or Pad Pow PRelu
    QLinearConv QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RMSNormalization Round ScatterElements ScatterND
    Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan
    Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905
)
_REMEDY: Final = "export the bundle with `leukoscope export`"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_MODEL_GRAPH, _MODEL_FUNCTION, _MODEL_TRAINING = 7, 25, 20
_GRAPH_NODE, _GRAPH_WEIGHTS, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 10, 6, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def check_operators(graph: bytes, path: str) -> None:
    """Refuse a graph that could do more than compute.

    Args:
        graph: an ONNX file.
        path: of the file, for the error.

    Raises:
        BundleError: it is no ONNX file, has an operator that is not in `ALLOWED`, a graph within an operator, or
            weights that lie elsewhere.
    """
    try:
        what = next(_faults(memoryview(graph)), None)
    except ValueError as error:
        raise BundleError(f"is no ONNX graph ({error})", path=path, remedy=_REMEDY) from error
    if what is not None:
        raise BundleError(f"{what}; such a graph is not run", path=path, remedy=_REMEDY)


def _faults(model: memoryview) -> Iterator[str]:
    graphs = 0
    for field, value in _fields(model):
        if field == _MODEL_GRAPH:
            graphs += 1
            yield from _faults_of_graph(_bytes(value))
        elif field in (_MODEL_FUNCTION, _MODEL_TRAINING):
            yield "brings functions of its own"
    if graphs != 1:
        raise ValueError(f"{graphs} graphs")


def _faults_of_graph(graph: memoryview) -> Iterator[str]:
    for field, value in _fields(graph):
        if field == _GRAPH_NODE:
            yield from _faults_of_node(_bytes(value))
        elif field == _GRAPH_WEIGHTS:
            yield from _faults_of_tensor(_bytes(value))
        elif field == _GRAPH_SPARSE:
            yield "has sparse weights"


def _faults_of_node(node: memoryview) -> Iterator[str]:
    operator, domain = "", ""
    for field, value in _fields(node):
        if field == _NODE_OPERATOR:
            operator = _text(value)
        elif field == _NODE_DOMAIN:
            domain = _text(value)
        elif field == _NODE_ATTRIBUTE:
            for inner, held in _fields(_bytes(value)):
                if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield "has an operator with a graph of its own (a loop or a branch)"
                elif inner in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    yield from _faults_of_tensor(_bytes(held))
    if domain not in ("", "ai.onnx") or operator not in ALLOWED:
        yield f"uses the operator {f'{domain}.' if domain else ''}{operator}"[:80] + ", which is not known here"


def _faults_of_tensor(tensor: memoryview) -> Iterator[str]:
    for field, value in _fields(tensor):
        if field == _TENSOR_EXTERNAL or (field == _TENSOR_LOCATION and value != 0):
            yield "keeps weights in another file"


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: a whole number, or its bytes.

    Raises:
        ValueError: it is no protocol buffer.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield key >> 3, number
            continue
        if kind == _LENGTH:
            size, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > len(message):
            raise ValueError("it is cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for step in range(10):
        if place + step >= len(message):
            break
        byte = message[place + step]
        value |= (byte & 0x7F) << 7 * step
        if byte < 0x80:
            return value, place + step + 1
    raise ValueError("a number has no end")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message is due")  # noqa: TRY004 - of the file, not of the caller
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode("utf-8", "replace")
