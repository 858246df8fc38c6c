"""Which networks exist, what each one is, and how to build it by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.resize import resize
from leukoscope.text import nearest_first


class CellClassifier(nn.Module):
    """What every network of this project can do.

    The activation that is explained (``forward_features``) is followed only by operations through which the gradient of
    the logit is a formula, so that the heat map needs no backward pass. Where the gradient's spatial mean is a constant
    per channel, the map is Grad-CAM; else the network gives its own, position by position (``heat_map``).

    Attributes:
        head: the last layer, one linear unit; while a network's features are frozen, only it learns.
        constant_slopes: whether ``cam_weights`` holds for every picture.
        halved: names of the parts for whose kernels half precision is enough: a graph stores them so.
    """

    head: nn.Linear
    constant_slopes: bool = True
    halved: tuple[str, ...] = ()

    @property
    def last_conv(self) -> nn.Module:
        """The layer whose activation is explained."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the explained activation, float [N, C, h, w]."""
        raise NotImplementedError

    def embed(self, features: Tensor) -> Tensor:
        """Pool the explained activation to an embedding, float [N, E]."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """Map the explained activation to the logit, float [N, 1]; positive is blast."""
        raise NotImplementedError

    def cam_weights(self) -> Tensor:
        """Gradient of the logit with respect to each channel of the features, summed over positions, float [C]."""
        raise NotImplementedError

    def heat_map(self, features: Tensor) -> Tensor:
        """Signed heat map of the logit without a backward pass, float [N, h, w]: see :func:`closed_form_cam`."""
        positions = features.shape[-1] * features.shape[-2]
        # A 1x1 convolution: ONNX Runtime takes a tenth of the time that it takes for the same sum as an einsum.
        return F.conv2d(features, self.cam_weights()[None, :, None, None])[:, 0] / positions

    def shown_map(self, heat: Tensor, x: Tensor, logit: Tensor) -> Tensor:
        """The heat map as people are shown it, float [N, h, w] or finer; here as it is.

        Args:
            heat: as `heat_map` gives it.
            x: the pictures, float [N, 3, S, S].
            logit: what was answered, float [N].
        """
        del x, logit
        return heat

    def explained(self, frames: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logit [N], heat map [N, h, w] as it is shown and embedding [N, E], float, of raw frames, in one forward pass.

        Args:
            frames: uint8 RGB [N, F, F, 3].
            size: pixels to which they are resized, antialiased, as ``cells.resize_frame`` does in training.
        """
        as_they_are = frames.shape[1] == size
        # Rounded, because the network was trained on frames stored as 8-bit numbers.
        seen = (frames.permute(0, 3, 1, 2).float() if as_they_are else resize(frames, size).round()) / 255
        features = self.forward_features(seen)
        logit = self.forward_head(features)[:, 0]
        return logit, self.shown_map(closed_form_cam(self, features), seen, logit), self.embed(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the logit, float [N, 1]."""
        return self.forward_head(self.forward_features(x))


@dataclass(frozen=True, slots=True)
class HubWeights:
    """Pre-trained weights that others publish.

    Attributes:
        hub: owner and name on the hub, where the file is ``model.safetensors``.
        licence: as the publisher states it.
        data: what they were trained on, and its terms.
    """

    hub: str
    licence: str
    data: str = "ImageNet-1k, whose pictures are for non-commercial research and education"

    @property
    def url(self) -> str:
        """Where the file can be fetched."""
        return f"https://huggingface.co/{self.hub}/resolve/main/model.safetensors"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Facts of a registered network.

    Attributes:
        name: the name in recipes and on the command line.
        build: constructor; its arguments are plain data.
        summary: one line for people.
        source: where the architecture is described.
        input_size: pixels that the source states.
        licence: of the code and, where shipped, the weights.
        arguments: the default arguments, by name.
        extra: the package's extra that it needs beyond ``train``, if any.
        weights: pre-trained weights that can be fetched, if any.
    """

    name: str
    build: Callable[..., CellClassifier]
    summary: str
    source: str
    input_size: int
    licence: str = "Apache-2.0"
    arguments: dict[str, Any] = field(default_factory=dict)
    extra: str | None = None
    weights: HubWeights | None = None


_REGISTRY: dict[str, ModelSpec] = {}
_FAMILIES: dict[str, Callable[[str], ModelSpec]] = {}
_Class = TypeVar("_Class", bound=type[CellClassifier])


def register(name: str, *, summary: str, source: str, input_size: int, **arguments: Any) -> Callable[[_Class], _Class]:
    """Class decorator: make a network buildable by name."""

    def add(cls: _Class) -> _Class:
        add_spec(
            ModelSpec(name=name, build=cls, summary=summary, source=source, input_size=input_size, arguments=arguments)
        )
        return cls

    return add


def add_spec(spec: ModelSpec) -> None:
    """Make a network buildable by name."""
    if spec.name in _REGISTRY:
        raise ModelError(f"two networks are registered as {spec.name!r}")
    _REGISTRY[spec.name] = spec


def add_family(prefix: str, describe: Callable[[str], ModelSpec]) -> None:
    """Make all names that start with ``prefix`` buildable; ``describe`` gives the facts of one or raises ModelError."""
    _FAMILIES[prefix] = describe


def model_names() -> list[str]:
    """Names of all registered networks, sorted."""
    return sorted(_REGISTRY)


def model_spec(name: str) -> ModelSpec:
    """Facts of a network.

    Raises:
        ModelError: no network has this name; all are listed, the nearest first.
        MissingExtraError: the name is of a family whose library is not installed.
    """
    for prefix, describe in _FAMILIES.items():
        if name.startswith(prefix):
            return describe(name)
    try:
        return _REGISTRY[name]
    except KeyError:
        near = nearest_first(name, model_names())
        raise ModelError(f"no model is called {name!r}", remedy=f"use one of: {', '.join(near)}") from None


def create_model(name: str, **arguments: Any) -> CellClassifier:
    """Build a network with fresh weights.

    Raises:
        ModelError: unknown name or argument.
        MissingExtraError: the network's library is not installed.
    """
    spec = model_spec(name)
    unknown = sorted(set(arguments) - set(spec.arguments))
    if unknown:
        raise ModelError(
            f"{name} has no argument {', '.join(unknown)}",
            remedy=f"its arguments are: {', '.join(spec.arguments) or 'none'}",
        )
    try:
        return spec.build(**{**spec.arguments, **arguments})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name} cannot be built with {arguments}: {error}") from error


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def network_facts(name: str) -> dict[str, Any]:
    """What a network is, as plain data; those of the registered ones lie in networks.json, to be read without PyTorch.

    Its trainable parameters are counted without filling any memory.
    """
    spec = model_spec(name)
    with torch.device("meta"):
        parameters = count_parameters(create_model(name))
    weights = spec.weights and {**asdict(spec.weights), "url": spec.weights.url}
    told = {each: getattr(spec, each) for each in ("summary", "source", "licence", "input_size", "extra", "arguments")}
    return {**told, "parameters": parameters, "weights": weights}


def closed_form_cam(model: CellClassifier, features: Tensor) -> Tensor:
    """Signed heat map of the logit without a backward pass.

    Grad-CAM (Selvaraju et al. 2017) weighs each channel by the spatial mean of the logit's gradient. That mean is
    ``cam_weights / (h w)`` where slopes are constant, whatever the picture. Where they are not, the map is gradient
    times activation at each position (HiResCAM, Draelos & Carin 2020). The ReLU is left to the reader of the map,
    because the negative part is the map of the other class.

    Args:
        model: in evaluation mode.
        features: float [N, C, h, w] from ``forward_features``.

    Returns:
        float [N, h, w].
    """
    return model.heat_map(features)
