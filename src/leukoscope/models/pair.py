"""An `eye` and a compact network in one graph: one sees colour and texture, the other what no dye or light decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.models.compact import CompactCNN, cell_mask, share_of
from leukoscope.models.eye import Eye, Features
from leukoscope.models.masked import MaskedTrunk
from leukoscope.models.registry import HubWeights, ModelSpec, add_spec

REDUCTION = 3  # of the picture, for the compact network: 288 px to 96


class BothFeatures(Features):
    """The trunk's maps and shares, and behind them those of a compact network, repeated to their size.

    Args:
        trunk: see `MaskedTrunk`.
        compact: is shown the picture at a third of its size.
    """

    def __init__(self, trunk: MaskedTrunk, compact: CompactCNN) -> None:
        super().__init__(trunk)
        self.compact = compact

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to float [N, sum C + stages + C of the compact one, h, w]."""
        maps = super().forward(x)
        size = (maps.shape[2], maps.shape[3])
        small = F.avg_pool2d(x, REDUCTION)
        # Each position counts by its own share of the cell; the mean of those shares is the coarser position's.
        mask = F.interpolate(cell_mask(small, self.compact.rim), size=tuple(x.shape[2:]), mode="nearest")
        seen = F.interpolate(self.compact.activation(small), size=size, mode="nearest")
        return torch.cat([maps, seen * share_of(mask, size[0])], 1)


class Pair(Eye):
    """The sum of the logits of an `Eye` with a radial head and of a `CompactCNN` that pools inside the cell.

    The embedding is the one's components and the other's means side by side; each half has its own head on it.

    Args:
        trunk: see `Eye`.
        stages: see `Eye`.
        components: see `Eye`.
        units: see `Eye`.
        widths: of the compact network.
    """

    def __init__(
        self,
        trunk: str = "tf_efficientnet_lite0",
        stages: Sequence[int] = (3, 4, 5),
        components: int = 64,
        units: int = 64,
        widths: tuple[int, ...] = (16, 32, 64, 96),
    ) -> None:
        super().__init__(trunk, stages, components=components, units=units)
        compact = CompactCNN(tuple(widths), inside=True)
        self.features = BothFeatures(self.trunk, compact)
        self.components, self.statistics_of_eye = components, 2 * sum(self.trunk.channels)
        self.project = nn.Linear(self.statistics_of_eye + widths[-1], components + widths[-1])

    @property
    def compact(self) -> CompactCNN:
        """The second network; its unit is part of the head."""
        found = self.features.compact
        assert isinstance(found, CompactCNN)
        return found

    def statistics(self, features: Tensor) -> Tensor:
        """Of the trunk's maps, and the means of the compact network's, float [N, 2 sum C + C of the compact one]."""
        return torch.cat([super().statistics(features), self._of_compact(features).mean((2, 3))], 1)

    def answer(self, seen: Tensor) -> Tensor:
        """Logit, float [N, 1]: both heads' sum."""
        ours, theirs = self._halves(seen)
        logit: Tensor = super().answer(ours) + self.compact.head(theirs)
        return logit

    def slopes(self, seen: Tensor) -> Tensor:
        """Gradient of the logit by the embedding, float [N, K]."""
        ours, theirs = self._halves(seen)
        return torch.cat([super().slopes(ours), self.compact.head.weight.expand_as(theirs)], 1)

    def heat_of(self, features: Tensor, slopes: Tensor) -> Tensor:
        """As of an `Eye`, and the compact network's maps by the slopes of their means."""
        theirs = self._of_compact(features)
        plain = (theirs * slopes[:, self.statistics_of_eye :, None, None]).sum(1) / math.prod(theirs.shape[2:])
        return super().heat_of(features, slopes) + plain

    @torch.no_grad()
    def join(self, head: Mapping[str, NDArray[Any]], compact: CompactCNN, scale: tuple[float, float]) -> None:
        """Take over a fitted head and a trained network; each one's logit is multiplied by its scale.

        Args:
            head: of an `Eye`, as `leukoscope.training.heads.fit_head` gives it.
            compact: of the same widths.
            scale: of the head, and of the network.
        """
        self.compact.load_state_dict(compact.state_dict())
        for part in (self.compact.head.weight, self.compact.head.bias):
            part.mul_(scale[1])
        self.take_head({key: each for key, each in head.items() if not key.startswith("project.")})
        for part in (self.head.weight, self.head.bias):
            part.mul_(scale[0])
        weight, bias = (torch.as_tensor(head[f"project.{key}"]) for key in ("weight", "bias"))
        self.project.weight.zero_()
        self.project.weight[: self.components, : self.statistics_of_eye] = weight
        self.project.weight[self.components :, self.statistics_of_eye :].fill_diagonal_(1.0)
        self.project.bias.zero_()
        self.project.bias[: self.components] = bias

    def _halves(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        ours, theirs = torch.split(seen, [self.components, seen.shape[1] - self.components], 1)
        return ours, theirs

    def _stages(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        return super()._stages(features[:, : self._width()])

    def _of_compact(self, features: Tensor) -> Tensor:
        return features[:, self._width() :]

    def _width(self) -> int:
        """Channels of the trunk's maps and shares."""
        return self.statistics_of_eye // 2 + len(self.trunk.channels)


add_spec(
    ModelSpec(
        name="pair",
        build=Pair,
        summary="an eye and a compact_cnn that pools inside the cell, in one graph",
        source="ours; see eye and compact_cnn",
        input_size=288,
        arguments={
            "trunk": "tf_efficientnet_lite0",
            "stages": (3, 4, 5),
            "components": 64,
            "units": 64,
            "widths": (16, 32, 64, 96),
        },
        extra="backbones",
        weights=HubWeights("timm/tf_efficientnet_lite0.in1k", "Apache-2.0"),
    )
)
