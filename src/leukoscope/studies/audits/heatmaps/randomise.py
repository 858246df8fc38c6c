"""A bundle's graph with its upper layers re-initialised: what a map must not survive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.head import sources
from leukoscope.errors import BundleError, missing_extra

_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A node of the graph with learned weights, and the names of its weight and bias."""

    node: str
    weight: str
    bias: str | None


def random_layers(graph: bytes, *, seed: int, stages: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> Iterator[
    tuple[int, int, bytes]
]:  # fmt: skip
    """Re-initialise a graph's layers from the top downwards, cumulatively.

    Adebayo et al. 2018, "Sanity checks for saliency maps", cascading randomisation. Weights become normal numbers of
    mean 0 and of the layer's own root mean square, biases 0; normalisations stay as they are, because they only keep
    the scale of what flows. The heat map's channel weights, a constant of the graph, are those of its last linear layer
    times the slope of what lies between, and follow the new ones.

    Args:
        graph: ONNX, of a bundle.
        seed: of the new weights; a layer gets the same ones in every stage.
        stages: shares of the layers to re-initialise; at least the uppermost always is.

    Yields:
        Number of layers re-initialised, number of layers there are, the graph.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph has no layer above the embedding with as many weights as its map has channels.
    """
    try:
        import onnx  # noqa: PLC0415
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("randomising a network", "train") from error
    model = onnx.load_model_from_string(graph)
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    layers = _layers(model.graph, values)
    if not layers:
        raise BundleError("the graph has no layer with weights", remedy="export the bundle with `leukoscope export`")
    channel = _map_weights(model.graph, values, layers[0])
    done: set[int] = set()
    for share in stages:
        count = max(1, round(share * len(layers)))
        if count in done:
            continue
        done.add(count)
        fresh = {}
        for index, layer in enumerate(layers[:count]):
            old = values[layer.weight]
            rng = np.random.default_rng((seed, index))
            fresh[layer.weight] = (rng.standard_normal(old.shape) * np.sqrt((old**2).mean())).astype(old.dtype)
            if layer.bias is not None:
                fresh[layer.bias] = np.zeros_like(values[layer.bias])
        top = layers[0].weight
        if channel != top:
            slope = values[channel].ravel() / np.where(values[top] == 0, np.inf, values[top]).ravel()
            fresh[channel] = (slope * fresh[top].ravel()).astype(values[channel].dtype).reshape(values[channel].shape)
        yield count, len(layers), _replaced(model, fresh)


def _replaced(model: Any, fresh: dict[str, NDArray[Any]]) -> bytes:
    import onnx  # noqa: PLC0415
    from onnx import numpy_helper  # noqa: PLC0415

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for each in changed.graph.initializer:
        if each.name in fresh:
            each.CopyFrom(numpy_helper.from_array(fresh[each.name], each.name))
    return bytes(changed.SerializeToString())


def _layers(graph: Any, values: dict[str, NDArray[Any]]) -> list[Layer]:
    """Layers that the logit hangs on, the uppermost first."""
    needed = sources(graph, "logit")
    found = []
    for node in reversed(graph.node):
        if node.op_type not in _WEIGHTED or not needed & set(node.output):
            continue
        # The resize before the network is a product with constants of three axes; nothing learned has three.
        weights = [name for name in node.input if name in values and values[name].ndim in {2, 4}]
        biases = [name for name in node.input if name in values and values[name].ndim == 1]
        if weights:
            found.append(Layer(node.name or node.output[0], weights[0], biases[0] if biases else None))
    return found


def _map_weights(graph: Any, values: dict[str, NDArray[Any]], top: Layer) -> str:
    """Name of the constant that weighs the channels of the map."""
    above, beside = sources(graph, "heatmap"), sources(graph, "logit")
    own = {name for node in graph.node if above & set(node.output) for name in node.input}
    if top.weight in own:
        return top.weight
    shared = {name for node in graph.node if beside & set(node.output) for name in node.input}
    size = values[top.weight].size
    alone = [name for name in own - shared if name in values and values[name].size == size > 1]
    if len(alone) != 1:
        raise BundleError(
            "the weights of the heat map's channels cannot be told from the graph",
            remedy="export the bundle with `leukoscope export`",
        )
    return str(alone[0])
