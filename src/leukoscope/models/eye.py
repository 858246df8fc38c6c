"""A frozen pre-trained trunk seen through the cell's mask, and a head on its statistics with an exact heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.compact import cell_mask, onto_cell, share_of, summing_to
from leukoscope.models.masked import MaskedTrunk, masked_statistics
from leukoscope.models.registry import CellClassifier, HubWeights, ModelSpec, add_spec

KINDS = ("linear", "mlp", "radial")
REACH = 1  # positions on every side that heat is dealt out to: without, it jumps from one to the next as a cell turns


class Features(nn.Module):
    """The trunk's maps side by side at the size of the largest, and behind them the cell's share of each map.

    A coarser map is repeated, its shares too, so that no statistic changes by it.

    Args:
        trunk: see `MaskedTrunk`.
    """

    def __init__(self, trunk: MaskedTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to float [N, sum C + stages, h, w]."""
        maps, shares = self.trunk(x)
        size = maps[0].shape[2:]
        return torch.cat([each if each.shape[2:] == size else F.interpolate(each, size=size, mode="nearest")
                          for each in (*maps, *shares)], 1)  # fmt: skip


class Eye(CellClassifier):
    """Mean and standard deviation of each channel inside the cell, their principal components, and a head on these.

    Nothing outside the mask enters the logit, so that its heat there is exactly 0. What the head says falls by its
    gradient back on every position: gradient times activation, in closed form for each kind of head.

    Args:
        trunk: a name of `MaskedTrunk`.
        stages: of the trunk.
        standardise: see `MaskedTrunk`.
        rim: see `MaskedTrunk`.
        components: K, of the statistics.
        kind: ``linear``; ``mlp``, one hidden layer with ReLU; ``radial``, Gaussian bumps around training cells.
        units: of the hidden layer, or cells with a bump.

    Raises:
        ModelError: no such trunk, stage or kind.
    """

    constant_slopes = False

    def __init__(
        self,
        trunk: str = "tf_efficientnet_lite0",
        stages: Sequence[int] = (3, 4, 5),
        standardise: bool = False,
        rim: int = 0,
        components: int = 64,
        kind: str = "radial",
        units: int = 64,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ModelError(f"no head is called {kind!r}", remedy=f"use one of: {', '.join(KINDS)}")
        self.kind = kind
        self.features = Features(MaskedTrunk(trunk, stages, standardise=standardise, rim=rim))
        self.project = nn.Linear(2 * sum(self.trunk.channels), components)
        if kind == "radial":
            self.supports = nn.Parameter(torch.randn(units, components))
            self.gamma = nn.Parameter(torch.tensor(0.5 / components))
        elif kind == "mlp":
            self.hidden = nn.Linear(components, units)
        self.head = nn.Linear(components if kind == "linear" else units, 1)

    @property
    def trunk(self) -> MaskedTrunk:
        """What makes the maps."""
        return self.features.trunk

    @property
    def last_conv(self) -> nn.Module:
        """The maps of all stages, which are explained."""
        return self.features

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to maps and shares: see `Features`."""
        return self.features(x)  # type: ignore[no-any-return]

    def statistics(self, features: Tensor) -> Tensor:
        """As `MaskedTrunk.statistics`, float [N, 2 sum C]."""
        return torch.cat([each for maps, share in self._stages(features) for each in masked_statistics(maps, share)], 1)

    def embed(self, features: Tensor) -> Tensor:
        """Principal components of the statistics, float [N, K]."""
        return self.project(self.statistics(features))  # type: ignore[no-any-return]

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.answer(self.embed(features))

    def answer(self, seen: Tensor) -> Tensor:
        """Logit, float [N, 1], of an embedding, float [N, K]."""
        if self.kind == "radial":
            seen = self._bumps(seen)
        elif self.kind == "mlp":
            seen = torch.relu(self.hidden(seen))
        return self.head(seen)  # type: ignore[no-any-return]

    def slopes(self, seen: Tensor) -> Tensor:
        """Gradient of the logit by the embedding in closed form, float [N, K], at an embedding, float [N, K]."""
        weight = self.head.weight
        if self.kind == "radial":
            pull = self._bumps(seen) * weight
            found: Tensor = 2 * self.gamma * (pull @ self.supports - pull.sum(1, keepdim=True) * seen)
        elif self.kind == "mlp":
            found = ((self.hidden(seen) > 0) * weight) @ self.hidden.weight
        else:
            found = weight.expand_as(seen)  # one a cell, so that an adapted graph can add its own to each
        return found

    def heat_map(self, features: Tensor) -> Tensor:
        """Gradient of the logit times activation, summed over the channels of all stages: float [N, h, w]."""
        return self.heat_of(features, self.slopes(self.embed(features)) @ self.project.weight)

    def heat_of(self, features: Tensor, slopes: Tensor) -> Tensor:
        """The heat map from the gradient of the logit by the statistics, float [N, 2 sum C].

        A mean has slope ``share / area`` at each position, a deviation ``share (f - mean) / (area deviation)``.
        """
        start, heat = 0, torch.zeros(())
        for maps, share in self._stages(features):
            channels = maps.shape[1]
            by_mean, by_deviation = torch.split(slopes[:, start : start + 2 * channels], channels, 1)
            start += 2 * channels
            mean, deviation = masked_statistics(maps, share)
            bend = by_deviation / deviation
            once = (by_mean - bend * mean)[:, :, None, None]
            glow = (maps * (once + bend[:, :, None, None] * maps)).sum(1)
            heat = heat + glow * share[:, 0] / share.sum((1, 2, 3)).clamp_min(1e-3)[:, None, None]
        return heat

    def shown_map(self, heat: Tensor, x: Tensor, logit: Tensor) -> Tensor:
        """The heat over the cell's own pixels, without dust beside it, which sums up to the logit, float [N, S, S]."""
        mask = cell_mask(x, max(self.trunk.rim, 1))
        fine = onto_cell(heat, mask, REACH)
        return summing_to(fine, share_of(mask, fine.shape[-1]), logit)

    def cam_weights(self) -> Tensor:
        """There are none: the slopes differ from cell to cell.

        Raises:
            ModelError: always; `heat_map` is what to ask.
        """
        raise ModelError("this network's heat map has no constant weights", remedy="ask its heat_map")

    @torch.no_grad()
    def take_head(self, head: Mapping[str, NDArray[np.float32]]) -> None:
        """Take over a fitted head, with as many units as it has.

        Args:
            head: by name, as `leukoscope.training.heads.fit_head` gives it.
        """
        state = {name: torch.from_numpy(np.asarray(each)) for name, each in head.items()}
        self.load_state_dict({**self.state_dict(), **state})

    def head_state(self) -> dict[str, Tensor]:
        """All that is fitted, by name, as `take_head` takes it."""
        return {name: each for name, each in self.state_dict().items() if not name.startswith("features.")}

    def _bumps(self, seen: Tensor) -> Tensor:
        # Multiplied out: two products of matrices instead of N S K differences.
        apart = (seen * seen).sum(1, keepdim=True) + (self.supports * self.supports).sum(1) - 2 * seen @ self.supports.T
        return torch.exp(-self.gamma * apart.clamp_min(0))

    def _stages(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        widths = self.trunk.channels
        parts = torch.split(features, [*widths, *(1 for _ in widths)], 1)
        return list(zip(parts[: len(widths)], parts[len(widths) :], strict=True))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # How many cells keep a bump shows when the head is fitted: make room for what is there.
        if self.kind == "radial" and f"{prefix}supports" in state:
            count = len(state[f"{prefix}supports"])
            if count != len(self.supports):
                self.supports = nn.Parameter(self.supports.new_empty(count, self.supports.shape[1]))
                self.head = nn.Linear(count, 1, device=self.supports.device)
        super()._load_from_state_dict(state, prefix, *rest)


add_spec(
    ModelSpec(
        name="eye",
        build=Eye,
        summary="frozen EfficientNet-Lite0 pooled inside the cell's mask, and a head fitted on its statistics",
        source="ours; trunk: EfficientNet-Lite (Google 2020) in timm",
        input_size=288,
        arguments={
            "trunk": "tf_efficientnet_lite0",
            "stages": (3, 4, 5),
            "standardise": False,
            "rim": 0,
            "components": 64,
            "kind": "radial",
            "units": 64,
        },
        extra="backbones",
        weights=HubWeights("timm/tf_efficientnet_lite0.in1k", "Apache-2.0"),
    )
)
