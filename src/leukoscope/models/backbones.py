"""Known networks as comparators: a timm trunk, global average pooling and one linear unit.

The paper's five rivals are registered by name; any other network of timm is ``timm:NAME``. timm is imported when one
of them is looked at or built, not before.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from leukoscope.models.registry import CellClassifier, HubWeights, ModelSpec, add_family, add_spec
from leukoscope.models.trunk import Trunk, TrunkFacts, trunk_facts

FAMILY = "timm:"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_INCEPTION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Backbone(CellClassifier):
    """A timm trunk with the head that all rivals share: global average pooling, dropout, one linear unit.

    Normalisation is part of the network, so that pictures come in as float 0..1 like everywhere else. Hidden layers
    that some networks put between pooling and classifier (the fully connected layers of VGG, ``conv_head`` of
    MobileNetV3) are left off: behind them the gradient is no constant of the channel, and Grad-CAM would need a
    backward pass. In VGG16 they are 119.5 of 134 million parameters, made for 1000 classes and 224 px.

    The explained activation is the trunk's last feature map.

    Args:
        name: as timm knows it.
        mean: subtracted from each colour.
        std: divided by, after that.
        dropout: probability of dropping an element of the embedding while training.
        image_size: pixels, for trunks whose input size is fixed.
        options: further arguments of timm's constructor.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        dropout: float = 0.0,
        image_size: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("mean and std are three numbers each, those of std above 0")
        self.trunk = Trunk(name, image_size, options)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.end = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.channels, 1)

    @property
    def last_conv(self) -> nn.Module:
        """The end of the trunk, whose output is explained."""
        return self.end

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the trunk's last feature map, float [N, C, h, w]."""
        features: Tensor = self.end(self.trunk((x - self.mean) / self.std))
        return features

    def embed(self, features: Tensor) -> Tensor:
        """Average: float [N, C]."""
        return features.mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.dropout(self.embed(features)))  # type: ignore[no-any-return]

    def cam_weights(self) -> Tensor:
        """Closed form, float [C]: the mean and the unit follow, so the sum over positions is the unit's weight."""
        return self.head.weight[0]


def _rival(name: str, summary: str, source: str, norm: tuple[Any, Any], weights: HubWeights, size: int = 224) -> None:
    mean, std = norm
    add_spec(
        ModelSpec(
            name=name,
            build=partial(Backbone, name),
            summary=summary,
            source=source,
            input_size=size,
            licence="Apache-2.0 (timm)",
            arguments={"mean": mean, "std": std, "dropout": 0.0, "image_size": None, "options": {}},
            extra="backbones",
            weights=weights,
        )
    )


def _timm_spec(name: str) -> ModelSpec:
    facts = trunk_facts(name.removeprefix(FAMILY))
    return ModelSpec(
        name=name,
        build=partial(Backbone, facts.name),
        summary=f"{facts.name} of the timm library; one linear unit",
        source=f"timm, architecture {facts.name.partition('.')[0]}",
        input_size=facts.size,
        licence="Apache-2.0 (timm)",
        arguments={"mean": facts.mean, "std": facts.std, "dropout": 0.0, "image_size": None, "options": {}},
        extra="backbones",
        weights=_published(facts),
    )


def _published(facts: TrunkFacts) -> HubWeights | None:
    if facts.hub is None:
        return None
    licence = facts.licence or "not stated"
    if re.fullmatch(r"(\w+_)?in1k", facts.hub.rpartition(".")[2]) and "_ft_" not in facts.hub:
        return HubWeights(facts.hub, licence)
    return HubWeights(facts.hub, licence, data="as its publisher says")


add_family(FAMILY, _timm_spec)
_rival(
    "vgg16",
    "thirteen 3x3 convolutions; its fully connected layers left off",
    "Simonyan & Zisserman, ICLR 2015",
    _IMAGENET,
    HubWeights("timm/vgg16.tv_in1k", "BSD-3-Clause"),
)
_rival(
    "resnetv2_101",
    "residual network of 101 layers, normalisation before activation",
    "He et al., ECCV 2016",
    _INCEPTION,
    HubWeights("timm/resnetv2_101.a1h_in1k", "Apache-2.0"),
)
_rival(
    "densenet201",
    "densely connected network of 201 layers",
    "Huang et al., CVPR 2017",
    _IMAGENET,
    HubWeights("timm/densenet201.tv_in1k", "Apache-2.0"),
)
_rival(
    "inception_v3",
    "factorised convolutions in parallel branches, without the auxiliary classifier",
    "Szegedy et al., CVPR 2016",
    _INCEPTION,
    HubWeights("timm/inception_v3.tv_in1k", "Apache-2.0"),
    size=299,
)
_rival(
    "wide_resnet50_2",
    "residual network of 50 layers, its inner layers twice as wide",
    "Zagoruyko & Komodakis, BMVC 2016",
    _IMAGENET,
    HubWeights("timm/wide_resnet50_2.racm_in1k", "Apache-2.0"),
)
