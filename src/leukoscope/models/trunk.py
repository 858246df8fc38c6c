"""Trunks: the convolutional part of any network of the timm library, without what follows its last feature map."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from leukoscope.errors import MissingExtraError, ModelError, missing_extra


def import_timm() -> ModuleType:
    """The timm library, imported when a network of it is first asked for.

    Raises:
        MissingExtraError: timm is absent, or its torchvision does not fit the installed PyTorch.
    """
    try:
        import timm  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("a network of the timm library", "backbones") from error
    except (RuntimeError, OSError) as error:  # torchvision's binary of another PyTorch
        raise MissingExtraError(
            f"torchvision, which timm needs, does not fit PyTorch {torch.__version__} ({error})",
            remedy="run: pip install -c constraints.txt 'leukoscope[backbones]'",
        ) from error
    return timm  # type: ignore[no-any-return,unused-ignore]


@dataclass(frozen=True, slots=True)
class TrunkFacts:
    """What timm says of a network.

    Attributes:
        name: architecture and, after a dot, the weights meant.
        size: pixels of the input that the weights were trained at.
        mean: subtracted from each colour of a picture in 0..1.
        std: divided by, after that.
        hub: where the weights lie on the hub, ``None`` if nowhere.
        licence: of the weights as timm states it, ``None`` if it states none.
    """

    name: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    hub: str | None
    licence: str | None


def trunk_facts(name: str) -> TrunkFacts:
    """Look a network up in timm.

    Raises:
        MissingExtraError: timm cannot be imported.
        ModelError: timm has no such network or no such weights of it; the nearest names are listed.
    """
    timm = import_timm()
    known = timm.list_models()
    plain, _, tag = name.partition(".")
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=3, cutoff=0.4) or ["mobilenetv3_small_100"]
        raise ModelError(
            f"timm has no network {plain!r}", remedy=f"use one of: {', '.join(f'timm:{each}' for each in near)}"
        )
    tagged = timm.list_pretrained(f"{plain}.*")
    if tag and name not in tagged:
        raise ModelError(f"timm has no weights {tag!r} of {plain}", remedy=f"use one of: {', '.join(tagged) or plain}")
    facts = timm.get_pretrained_cfg(name)
    return TrunkFacts(
        name=name,
        size=int(facts.input_size[-1]),
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        hub=facts.hf_hub_id or None,
        licence=facts.license or None,
    )


class Trunk(nn.Module):
    """A timm network up to and with its last feature map, as ``forward_features`` gives it, brought to [N, C, h, w].

    What timm puts after that (pooling, hidden layers of the classifier, the classifier) is taken off, with its
    parameters. Maps with channels last and rows of tokens are reordered; class and register tokens are left out.

    Args:
        name: as timm knows it.
        image_size: pixels that the network is built for; needed by those whose size is fixed, mostly transformers.
        options: further arguments of timm's constructor, plain data.

    Attributes:
        channels: of the feature map.
        left_out: names of the parts taken off.
    """

    def __init__(self, name: str, image_size: int | None = None, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        size = image_size or trunk_facts(name).size
        arguments = {**(options or {}), **({"img_size": image_size} if image_size else {})}
        probe = _build(name, arguments, torch.device("meta"))
        ran: set[str] = set()
        for part, module in probe.named_modules():
            module.register_forward_hook(lambda *_, part=part: ran.add(part.partition(".")[0]))
        with torch.no_grad():
            features = _features(probe, torch.zeros(1, 3, size, size, device="meta"), name)
        self._tokens = features.ndim == 3
        self._prefix = int(getattr(probe, "num_prefix_tokens", 0) or 0)
        self._channels_last = features.ndim == 4 and getattr(probe, "output_fmt", "NCHW") == "NHWC"
        self.channels = int(self._to_map(features).shape[1])
        self.left_out = tuple(part for part, _ in probe.named_children() if part not in ran)
        self.net = _build(name, arguments, None)
        for part in self.left_out:
            setattr(self.net, part, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures, float [N, 3, S, S], to features, float [N, C, h, w]."""
        features: Tensor = self.net.forward_features(x)  # type: ignore[operator]
        return self._to_map(features)

    def _to_map(self, features: Tensor) -> Tensor:
        if self._tokens:
            features = features[:, self._prefix :]
            side = math.isqrt(features.shape[1])
            return features.transpose(1, 2).reshape(features.shape[0], -1, side, side)
        return features.permute(0, 3, 1, 2) if self._channels_last else features


def _build(name: str, arguments: dict[str, Any], device: torch.device | None) -> nn.Module:
    timm = import_timm()
    try:
        if device is None:
            return timm.create_model(name, pretrained=False, num_classes=0, **arguments)  # type: ignore[no-any-return]
        with device:
            return timm.create_model(  # type: ignore[no-any-return]
                name, pretrained=False, num_classes=0, **arguments
            ).eval()
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError) as error:
        raise ModelError(f"timm cannot build {name} with {arguments}: {error}") from error


def _features(probe: nn.Module, x: Tensor, name: str) -> Tensor:
    try:
        features = probe.forward_features(x)  # type: ignore[operator]
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        raise ModelError(f"{name} cannot be used at {x.shape[-1]} px: {error}") from error
    if isinstance(features, Tensor):
        tokens = features.shape[1] - int(getattr(probe, "num_prefix_tokens", 0) or 0)
        if features.ndim == 4 or (features.ndim == 3 and math.isqrt(tokens) ** 2 == tokens):
            return features
    raise ModelError(
        f"{name} has no single feature map that a heat map could be drawn from", remedy="choose a convolutional network"
    )
